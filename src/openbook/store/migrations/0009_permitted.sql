-- A question looks up what its caller may see in half a dozen statements, and an overlap of two lists of names is dear
-- where both are long. So the numbers of the access sets are found once in its transaction, by the policy itself, and
-- compared from then on.
CREATE FUNCTION openbook.permitted() RETURNS int[] LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('openbook.permitted', true), '')::int[];

CREATE FUNCTION openbook.act_as(caller text[]) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    SELECT set_config('openbook.principals', caller::text, true), set_config('openbook.permitted', '', true);
    SELECT set_config('openbook.permitted', coalesce(array_agg(id), '{{}}')::text, true) FROM openbook.access_set;
END;

ALTER POLICY permitted ON openbook.access_set USING (
    CASE WHEN (SELECT openbook.permitted()) IS NULL
        THEN principals && (SELECT openbook.principals())
        ELSE id IN (SELECT unnest(openbook.permitted()))  -- hashed; a list of numbers is walked for each set
    END
);
