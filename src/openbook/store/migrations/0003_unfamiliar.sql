-- Documents in a language that the model of an index does not know, told by its tokenizer when they were cut into
-- chunks. Derived: it follows the chunks, and nothing but what is said to the user is made of it.

CREATE TABLE openbook.unfamiliar (
    index    int NOT NULL REFERENCES openbook.index ON DELETE CASCADE,
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    script   text COLLATE "C" NOT NULL,   -- of most of its letters: Arabic, Cyrillic, Latin
    PRIMARY KEY (index, document)
);
CREATE INDEX unfamiliar_document ON openbook.unfamiliar (document);

GRANT SELECT ON openbook.unfamiliar TO {reader};
GRANT SELECT, INSERT, DELETE ON openbook.unfamiliar TO {writer};

ALTER TABLE openbook.unfamiliar ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON openbook.unfamiliar TO CURRENT_USER, {writer} USING (true);
CREATE POLICY permitted ON openbook.unfamiliar FOR SELECT TO {reader}
    USING (EXISTS (SELECT 1 FROM openbook.document d WHERE d.id = unfamiliar.document));
