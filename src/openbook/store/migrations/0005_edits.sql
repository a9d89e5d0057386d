-- Edits: what was said of a document over what its source says, and the names that it had.

-- Of each thing that was edited, what the source had said of it: title, metadata by key, hash of the text. What was edited
-- stays until the source itself says something else.
ALTER TABLE openbook.document ADD COLUMN edited jsonb;

-- Former sources of documents: a file that still goes by one is the file of that document, and a citation finds it.
CREATE TABLE openbook.renamed (
    kb       int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    key      bytea NOT NULL,   -- SHA-256 of source
    source   text COLLATE "C" NOT NULL,
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    PRIMARY KEY (kb, key)
);
CREATE INDEX renamed_document ON openbook.renamed (document);

GRANT SELECT ON openbook.renamed TO {reader};
GRANT SELECT, INSERT, DELETE ON openbook.renamed TO {writer};

ALTER TABLE openbook.renamed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON openbook.renamed TO CURRENT_USER, {writer} USING (true);
CREATE POLICY permitted ON openbook.renamed FOR SELECT TO {reader}
    USING (EXISTS (SELECT 1 FROM openbook.document d WHERE d.id = renamed.document));
