-- For how many days a trace is kept on which nobody gave feedback; NULL: for ever.
ALTER TABLE openbook.knowledge_base ADD COLUMN trace_days int DEFAULT 90 CHECK (trace_days > 0);
