-- Live knowledge: releases built beside the one that answers, edits that reach every kept index, documents whose text
-- stays on this machine, erasure that knows what to erase.

-- What an index has read: the version of each document whose chunks it holds. A document that is there and is not here
-- in its newest version is what the index is behind by; a text without words has a row here and no chunks.
CREATE TABLE openbook.indexed (
    index    int NOT NULL REFERENCES openbook.index ON DELETE CASCADE,
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    version  int NOT NULL,
    PRIMARY KEY (index, document)
);
CREATE INDEX indexed_document ON openbook.indexed (document);
INSERT INTO openbook.indexed (index, document, version)
    SELECT i.id, d.id, d.version FROM openbook.index i JOIN openbook.document d ON d.kb = i.kb WHERE d.removed IS NULL;

-- Nobody asks an index that is not complete; one that once was stays so, and may fall behind while its model is down.
ALTER TABLE openbook.index ADD COLUMN complete boolean NOT NULL DEFAULT true;
ALTER TABLE openbook.release
    ADD COLUMN report jsonb,             -- the comparison with the live release that justifies it
    ADD COLUMN promoted timestamptz;     -- when it last began to answer
UPDATE openbook.release SET promoted = created;
-- Numbers of releases are never used twice: traces name them.
ALTER TABLE openbook.knowledge_base ADD COLUMN releases int NOT NULL DEFAULT 1;

-- The text of a local-only document is sent to no remote model. A remote embedder makes no vectors of it.
ALTER TABLE openbook.document ADD COLUMN local_only boolean NOT NULL DEFAULT false;
ALTER TABLE openbook.root ADD COLUMN local_only boolean;   -- what was last said for it; NULL: nothing
DO $$ DECLARE number int; BEGIN
    FOR number IN SELECT id FROM openbook.index LOOP
        EXECUTE format('ALTER TABLE openbook.chunk_%s ALTER COLUMN vector DROP NOT NULL', number);
    END LOOP;
END $$;

-- Which documents a cached vector was made for: erasing them erases it, unless another has the same words.
CREATE TABLE openbook.vector_use (
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    embedder text COLLATE "C" NOT NULL,
    text     bytea NOT NULL,
    PRIMARY KEY (document, embedder, text)
);
CREATE INDEX vector_use_text ON openbook.vector_use (embedder, text);

-- Tombstones: what an add that was under way when it was forgotten must not bring back.
CREATE TABLE openbook.forgotten (
    kb      int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    hash    bytea NOT NULL,              -- SHA-256 of the text
    since   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kb, hash)
);
-- An erasure that has begun and is not finished: what a kill leaves is finished by the next one.
CREATE TABLE openbook.erasure (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb      int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    begun   timestamptz NOT NULL DEFAULT now(),
    counts  jsonb NOT NULL DEFAULT '{{}}'
);

GRANT SELECT, INSERT, UPDATE, DELETE ON openbook.indexed, openbook.vector_use TO {writer};
GRANT SELECT ON openbook.forgotten TO {writer};
