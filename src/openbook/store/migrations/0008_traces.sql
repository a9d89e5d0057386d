-- For how many days a trace is kept on which nobody gave feedback; NULL: for ever, as those that are there were told.
ALTER TABLE openbook.knowledge_base ADD COLUMN trace_days int CHECK (trace_days > 0);
ALTER TABLE openbook.knowledge_base ALTER trace_days SET DEFAULT 90;
