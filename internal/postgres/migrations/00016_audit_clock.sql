-- +goose Up

-- Checkpoints grow older in their order. A clock that was wrong for a while would
-- otherwise stamp one of today's with a month that is past its retention, and the
-- records under it would go. One that runs ahead keeps records longer: what is
-- published after it is back counts as published when it was ahead. Before the
-- first there is nothing to hold on to but that this was not written yet.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit_clock() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.at := GREATEST(clock_timestamp(), timestamptz '2025-01-01 00:00:00+00',
        (SELECT at FROM public.audit_checkpoints WHERE tenant_id = NEW.tenant_id ORDER BY size DESC LIMIT 1));
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- A month of which the default partition has rows already cannot have one of its
-- own: the clock ran ahead for a while, or nobody asked for months in time. It
-- stays there; that must not keep a platform from starting.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit_partitions(ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first date;
    part  text;
    made  int := 0;
    sch   text := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relname = 'audit_events' AND c.relkind = 'p' LIMIT 1);
BEGIN
    IF ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'audit_partitions: want 0 to 24 months ahead';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('audit_partitions'));
    FOR m IN 0..ahead LOOP
        first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => m))::date;
        part := format('audit_events_%s', to_char(first, 'YYYY_MM'));
        CONTINUE WHEN to_regclass(format('%I.%I', sch, part)) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.audit_events FOR VALUES FROM (%L) TO (%L)',
                sch, part, sch, first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
            EXECUTE format('SELECT %I.openclaw_isolate(%L)', sch, format('%I.%I', sch, part));
            EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I.%I FOR EACH STATEMENT EXECUTE FUNCTION %I.audit_immutable()',
                sch, part, sch);
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
