-- What openbook keeps. {reader} and {writer} are this database's roles; the owner is whoever runs this.
--
-- Truth: document, version. Derived from it: attribute (what filters read) and one chunk table per index, made when
-- the index is. The keyword view of an index lives outside the database and follows `change`.

CREATE TABLE openbook.knowledge_base (
    id       int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     text COLLATE "C" NOT NULL UNIQUE,
    position bigint NOT NULL DEFAULT 0,   -- of the change feed; taken last in each writing transaction
    live     int,                         -- the release that answers
    previous int,                         -- the release that a rollback returns to
    created  timestamptz NOT NULL DEFAULT now()
);

-- Access rules are interned: a row carries one small integer, and a changed group changes one row.
CREATE TABLE openbook.access_set (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb         int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    principals text[] COLLATE "C" NOT NULL,   -- sorted, distinct
    UNIQUE (kb, principals)
);

-- A folder or file that was added, with the rules it was added under: what is gone from it may be dropped.
CREATE TABLE openbook.root (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb    int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    path  text COLLATE "C" NOT NULL,
    rules text COLLATE "C" NOT NULL,
    access text[] COLLATE "C",   -- what was last said for it; NULL: nothing
    UNIQUE (kb, path, rules)
);

-- What a file looked like when it was read: unchanged files are not read again.
CREATE TABLE openbook.file (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    root     int NOT NULL REFERENCES openbook.root ON DELETE CASCADE,
    path     text COLLATE "C" NOT NULL,
    size     bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    inode    numeric NOT NULL,
    options  text COLLATE "C" NOT NULL,   -- hash of what else decides the reading: metadata, access, loader
    UNIQUE (root, path)
);

CREATE TABLE openbook.document (
    id       uuid PRIMARY KEY,
    kb       int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    source   text COLLATE "C" NOT NULL,
    key      bytea NOT NULL,   -- SHA-256 of source, which can be longer than a B-tree entry may be
    version  int NOT NULL,
    access   int NOT NULL REFERENCES openbook.access_set,
    metadata jsonb NOT NULL,
    file     bigint REFERENCES openbook.file ON DELETE SET NULL,
    added    timestamptz NOT NULL DEFAULT now(),
    changed  timestamptz NOT NULL DEFAULT now(),
    removed  timestamptz,      -- hidden since then
    UNIQUE (kb, key)
);
CREATE INDEX document_file ON openbook.document (file);

CREATE TABLE openbook.version (
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    version  int NOT NULL,
    title    text NOT NULL,
    text     text NOT NULL,
    headings jsonb NOT NULL,
    pages    int[] NOT NULL,
    hash     text COLLATE "C" NOT NULL,
    created  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document, version)
);
-- Not compressed: a chunk's text is cut out of it without unpacking the whole.
ALTER TABLE openbook.version ALTER COLUMN text SET STORAGE EXTERNAL;

-- One row per value of a metadata field, typed, so that filters use B-trees and leakproof operators under row-level
-- security (jsonb's are neither). Exactly one of text, number and flag is set.
CREATE TABLE openbook.attribute (
    document uuid NOT NULL REFERENCES openbook.document ON DELETE CASCADE,
    access   int NOT NULL,
    field    text COLLATE "C" NOT NULL,
    text     text COLLATE "C",
    number   double precision,
    flag     boolean
);
CREATE INDEX attribute_document ON openbook.attribute (document);
CREATE INDEX attribute_text ON openbook.attribute (field, text);
CREATE INDEX attribute_number ON openbook.attribute (field, number);

CREATE TABLE openbook.index (
    id        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb        int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    hash      text COLLATE "C" NOT NULL,   -- of the recipe's index half
    embedder  text COLLATE "C" NOT NULL,   -- content hash of the model
    dimension int NOT NULL,
    probe     real[] NOT NULL,             -- what the model makes of a fixed text
    language  text COLLATE "C" NOT NULL,
    UNIQUE (kb, hash, embedder)
);

CREATE TABLE openbook.release (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kb      int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    name    text COLLATE "C" NOT NULL,
    recipe  text NOT NULL,                 -- TOML
    index   int NOT NULL REFERENCES openbook.index,
    created timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kb, name)
);

-- Unchanged text is never embedded twice.
CREATE TABLE openbook.vector (
    embedder text COLLATE "C" NOT NULL,
    text     bytea NOT NULL,               -- SHA-256 of the embedded text
    vector   halfvec NOT NULL,
    PRIMARY KEY (embedder, text)
);
ALTER TABLE openbook.vector ALTER COLUMN vector SET STORAGE PLAIN;

-- The change feed: the position at which each document last changed. A removed document keeps its row.
CREATE TABLE openbook.change (
    kb       int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    document uuid NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (kb, document)
);
CREATE INDEX change_position ON openbook.change (kb, position);

CREATE TABLE openbook.trace (
    id         uuid PRIMARY KEY,
    kb         int NOT NULL REFERENCES openbook.knowledge_base ON DELETE CASCADE,
    created    timestamptz NOT NULL,
    principals text[] COLLATE "C",         -- NULL: asked as the owner
    question   text NOT NULL,
    body       jsonb NOT NULL              -- ids and spans, no text of documents
);
CREATE INDEX trace_created ON openbook.trace (kb, created);

-- --- who may do what -------------------------------------------------------------------------------------------------

CREATE FUNCTION openbook.principals() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('openbook.principals', true), '')::text[];

GRANT USAGE ON SCHEMA openbook TO {reader}, {writer};
GRANT SELECT ON openbook.knowledge_base, openbook.access_set, openbook.document, openbook.version,
    openbook.attribute, openbook.index, openbook.release, openbook.trace TO {reader};
GRANT SELECT, INSERT, UPDATE, DELETE ON openbook.knowledge_base, openbook.access_set, openbook.root, openbook.file,
    openbook.document, openbook.version, openbook.attribute, openbook.vector, openbook.change, openbook.trace TO {writer};
GRANT SELECT ON openbook.index, openbook.release TO {writer};

ALTER TABLE openbook.access_set ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE openbook.document   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE openbook.version    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE openbook.attribute  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE openbook.trace      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY everything ON openbook.access_set TO CURRENT_USER, {writer} USING (true);
CREATE POLICY everything ON openbook.document   TO CURRENT_USER, {writer} USING (true);
CREATE POLICY everything ON openbook.version    TO CURRENT_USER, {writer} USING (true);
CREATE POLICY everything ON openbook.attribute  TO CURRENT_USER, {writer} USING (true);
CREATE POLICY everything ON openbook.trace      TO CURRENT_USER, {writer} USING (true);

-- An unset caller has no principals, overlaps nothing and sees nothing. The subqueries below see access_set through
-- this policy; they and the caller's principals are evaluated once per query, not per row.
CREATE POLICY permitted ON openbook.access_set FOR SELECT TO {reader} USING (principals && (SELECT openbook.principals()));
CREATE POLICY permitted ON openbook.document   FOR SELECT TO {reader}
    USING (removed IS NULL AND access IN (SELECT id FROM openbook.access_set));
CREATE POLICY permitted ON openbook.version    FOR SELECT TO {reader}
    USING (EXISTS (SELECT 1 FROM openbook.document d WHERE d.id = version.document));
CREATE POLICY permitted ON openbook.attribute  FOR SELECT TO {reader}
    USING (access IN (SELECT id FROM openbook.access_set));
CREATE POLICY permitted ON openbook.trace      FOR SELECT TO {reader}
    USING (principals <@ (SELECT openbook.principals()));
