-- What people say of answers and passages, bound to the trace that tells what they saw. Nothing is overwritten: of the
-- same principals, the last word on the same thing counts.

CREATE TABLE openbook.feedback (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace      uuid NOT NULL REFERENCES openbook.trace ON DELETE CASCADE,
    principals text[] COLLATE "C",          -- who said it; NULL: the owner
    verdict    text COLLATE "C" NOT NULL CHECK (verdict IN ('up', 'down', 'better')),
    answer     text CHECK ((answer IS NOT NULL) = (verdict = 'better')),
    hit        int CHECK (hit > 0),         -- the passage that is meant, by its rank; NULL: the answer as a whole
    created    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_trace ON openbook.feedback (trace);

GRANT SELECT ON openbook.feedback TO {reader};
GRANT SELECT, INSERT ON openbook.feedback TO {writer};

-- As traces are: seen by who has every principal of the one who said it.
ALTER TABLE openbook.feedback ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON openbook.feedback TO CURRENT_USER, {writer} USING (true);
CREATE POLICY permitted ON openbook.feedback FOR SELECT TO {reader} USING (principals <@ (SELECT openbook.principals()));
