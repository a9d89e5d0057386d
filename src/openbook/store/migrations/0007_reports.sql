-- The report of a release measures what its evaluation was allowed to see, and may quote it: it is the owner's. Callers
-- are told which release answers, and by which recipe.
REVOKE SELECT ON openbook.release FROM {reader};
GRANT SELECT (id, kb, name, recipe, index, created, promoted) ON openbook.release TO {reader};
