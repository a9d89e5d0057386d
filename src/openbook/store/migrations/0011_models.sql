-- Models that were trained on documents: whom each may answer, and which of them forgetting a document withdraws.
CREATE TABLE openbook.model (
    id        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb        int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    hash      text COLLATE "C" NOT NULL,   -- of its content: an index names its embedder so, a recipe the others
    kind      text COLLATE "C" NOT NULL,   -- adapter, embedder, reranker
    weights   text COLLATE "C" NOT NULL,   -- what its files are known again by, wherever they lie
    rules     int[] NOT NULL,              -- the access sets of the texts that it was trained on, those since included
    withdrawn timestamptz,                 -- since when one of these texts is forgotten
    UNIQUE (kb, hash)
);

-- Where the files lie.
CREATE TABLE openbook.model_folder (
    model int NOT NULL REFERENCES openbook.model ON DELETE CASCADE,
    host  text COLLATE "C" NOT NULL,
    path  text COLLATE "C" NOT NULL,
    PRIMARY KEY (model, host, path)
);

-- What it was trained on. A document's id, whether or not it is there; of one that is known by its source alone, that
-- source's SHA-256: who forgets it must not find its name here.
CREATE TABLE openbook.trained_on (
    model    int NOT NULL REFERENCES openbook.model ON DELETE CASCADE,
    document uuid,
    source   bytea,
    CHECK (num_nonnulls(document, source) = 1)
);
CREATE INDEX trained_on_model ON openbook.trained_on (model);
CREATE INDEX trained_on_document ON openbook.trained_on (document);
CREATE INDEX trained_on_source ON openbook.trained_on (source);

-- A caller sees the models that may answer them, and of those nothing but which they are.
GRANT SELECT (id, kb, hash, withdrawn) ON openbook.model TO {reader};
GRANT SELECT, UPDATE ON openbook.model TO {writer};
GRANT SELECT ON openbook.trained_on TO {writer};

ALTER TABLE openbook.model ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON openbook.model TO CURRENT_USER, {writer} USING (true);
CREATE POLICY permitted ON openbook.model FOR SELECT TO {reader} USING (rules <@ (SELECT openbook.permitted()));
