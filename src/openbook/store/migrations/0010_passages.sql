-- A chunk may be small, to be found, and stand in a longer passage, which is shown; and be read with words beside its own.
DO $$ DECLARE number int; BEGIN
    FOR number IN SELECT id FROM openbook.index LOOP
        EXECUTE format(
            'ALTER TABLE openbook.chunk_%s ADD COLUMN passage int[], ADD COLUMN context text NOT NULL DEFAULT %L',
            number, ''
        );
    END LOOP;
END $$;
