-- +goose Up
-- A row of audit_events holds what one commit made durable for one tenant: n
-- events, their bodies one to a line, their leaf hashes end to end. Rows were
-- what the log's rate was limited by: at 256 events to a row an event costs the
-- database 5 microseconds instead of 30. audit_leaves numbers rows: seq is the
-- first event's. audit_personal has one row beside each, with one element for
-- each event, so that one event's values can be erased.

DROP INDEX audit_events_xid;
ALTER TABLE audit_events
    DROP COLUMN type, DROP COLUMN severity, DROP COLUMN actor, DROP COLUMN resource, DROP COLUMN outcome, DROP COLUMN request_id,
    DROP CONSTRAINT audit_events_leaf_check,
    ADD COLUMN n int NOT NULL DEFAULT 1 CHECK (n BETWEEN 1 AND 256),
    ADD COLUMN first_at timestamptz, -- of the events' own times, the least and the greatest; in rows from before: at
    ADD COLUMN last_at timestamptz,
    ADD COLUMN words bytea,          -- what filters look for: big-endian 32-bit hashes of field and value; NULL: unknown
    ADD CONSTRAINT audit_events_leaf_check CHECK (length(leaf) = 32 * n),
    ALTER COLUMN at SET DEFAULT now(), -- the commit's, by the database's clock: what the sequencer's floor goes by
    ALTER COLUMN leaf SET STORAGE EXTERNAL,
    ALTER COLUMN words SET STORAGE EXTERNAL;
CREATE INDEX audit_events_xid ON audit_events (tenant_id, xid);

ALTER TABLE audit_leaves
    DROP CONSTRAINT audit_leaves_leaf_check,
    ADD COLUMN n int NOT NULL DEFAULT 1,
    ADD CONSTRAINT audit_leaves_leaf_check CHECK (length(leaf) = 32 * n),
    ALTER COLUMN leaf SET STORAGE EXTERNAL; -- a part of it is read alone

ALTER TABLE audit_personal
    DROP CONSTRAINT audit_personal_salts_check,
    ALTER COLUMN actor_name TYPE text[] USING ARRAY[actor_name],
    ALTER COLUMN ip TYPE text[] USING ARRAY[ip],
    ALTER COLUMN user_agent TYPE text[] USING ARRAY[user_agent],
    ADD CONSTRAINT audit_personal_salts_check CHECK (length(salts) > 0 AND length(salts) % 48 = 0),
    ALTER COLUMN salts SET STORAGE EXTERNAL;

-- lz4 takes a quarter of pglz's time; not every PostgreSQL is built with it.
-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
    FOR t IN SELECT oid::regclass::text FROM pg_class WHERE oid = 'audit_events'::regclass
             UNION SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN body SET COMPRESSION lz4', t);
        EXECUTE format('ALTER TABLE %s ALTER COLUMN leaf SET STORAGE EXTERNAL, ALTER COLUMN words SET STORAGE EXTERNAL', t);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this PostgreSQL has no lz4: the audit log is written more slowly';
END $$;
-- +goose StatementEnd

-- Where an open act's intent lies.
ALTER TABLE audit_intents ADD COLUMN event_row uuid, ADD COLUMN at timestamptz NOT NULL DEFAULT now();

-- What the rows whose first number is 256 * index + 1 to 256 * index + 256 hold,
-- so that a filter passes over the rest of a large log: a Bloom filter over
-- their words, and the range of their times. Bookkeeping, no evidence.
CREATE TABLE audit_summaries (
    tenant_id uuid NOT NULL,
    index     bigint NOT NULL CHECK (index >= 0),
    first_at  timestamptz, -- NULL: no row begins there
    last_at   timestamptz,
    words     varbit,      -- NULL: unknown, look
    PRIMARY KEY (tenant_id, index)
);
SELECT openclaw_isolate('audit_summaries');
GRANT SELECT, INSERT ON audit_summaries TO openclaw_app;

-- The log event by event, for people who look at the database.
CREATE VIEW audit_records WITH (security_invoker = true) AS
    SELECT e.tenant_id, l.seq + o.place - 1 AS seq, (o.body::jsonb ->> 'id')::uuid AS id, e.id AS event_row, o.place, e.at, e.xid,
        o.body::jsonb ->> 'type' AS type, o.body::jsonb ->> 'severity' AS severity, o.body::jsonb ->> 'outcome' AS outcome,
        COALESCE(o.body::jsonb -> 'actor' ->> 'id', '') AS actor, COALESCE(o.body::jsonb ->> 'resource', '') AS resource,
        COALESCE(o.body::jsonb ->> 'request_id', '') AS request_id, o.body, substring(e.leaf FROM (32 * o.place - 31)::int FOR 32) AS leaf,
        p.actor_name[o.place] AS actor_name, p.ip[o.place] AS ip, p.user_agent[o.place] AS user_agent
    FROM audit_events e
    CROSS JOIN LATERAL string_to_table(e.body, E'\n') WITH ORDINALITY AS o (body, place)
    LEFT JOIN audit_leaves l ON l.tenant_id = e.tenant_id AND l.event_id = e.id
    LEFT JOIN audit_personal p ON p.tenant_id = e.tenant_id AND p.event_id = e.id;

-- As before, by rows; batch and the answer count rows.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit_sequence(batch int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    me    uuid := NULLIF(current_setting('app.current_tenant_id', true), '')::uuid;
    sys   bigint := (SELECT system_identifier FROM pg_control_system());
    head  audit_heads;
    low   xid8;
    found_ int;
    total bigint;
BEGIN
    SELECT * INTO head FROM audit_heads WHERE tenant_id = me FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_heads (tenant_id, system) VALUES (me, sys) ON CONFLICT DO NOTHING;
        SELECT * INTO head FROM audit_heads WHERE tenant_id = me FOR UPDATE;
    END IF;
    IF head.system <> sys THEN
        head.watermark := '0';
        head.floor := '-infinity';
    END IF;
    low := pg_snapshot_xmin(pg_current_snapshot());
    WITH numbered AS (
        INSERT INTO audit_leaves (tenant_id, seq, n, at, event_id, leaf)
        SELECT me, head.size + 1 + sum(p.n) OVER (ORDER BY p.xid, p.id) - p.n, p.n, p.at, p.id, p.leaf
        FROM (SELECT e.xid, e.id, e.n, e.at, e.leaf
              FROM audit_events e
              WHERE e.tenant_id = me AND e.xid >= head.watermark AND e.at >= head.floor
                AND NOT EXISTS (SELECT 1 FROM audit_leaves l WHERE l.tenant_id = me AND l.event_id = e.id)
              ORDER BY e.xid, e.id LIMIT batch) p
        RETURNING n)
    SELECT count(*), COALESCE(sum(n), 0) INTO found_, total FROM numbered;
    IF found_ > 0 OR head.system <> sys THEN
        UPDATE audit_heads SET size = head.size + total, system = sys,
            watermark = CASE WHEN found_ < batch THEN low ELSE head.watermark END,
            floor = CASE WHEN found_ < batch THEN now() - interval '1 day' ELSE head.floor END
        WHERE tenant_id = me;
    END IF;
    RETURN found_;
END $$;
-- +goose StatementEnd

-- As before, by rows: batch is how many records at least, as far as a row goes.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit_expire(batch int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    me    uuid := NULLIF(current_setting('app.current_tenant_id', true), '')::uuid;
    p     public.audit_expiry;
    d     public.audit_deletions;
    days  int;
    past  timestamptz;
    goal  bigint;
BEGIN
    IF me IS NULL OR batch IS NULL OR batch NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'audit_expire: want a tenant and 1 to 100000 records';
    END IF;
    PERFORM public.audit_expiry_lock(me);
    INSERT INTO public.audit_expiry (tenant_id) VALUES (me) ON CONFLICT DO NOTHING;
    SELECT * INTO p FROM public.audit_expiry WHERE tenant_id = me FOR UPDATE;
    SELECT * INTO d FROM public.audit_deletions WHERE tenant_id = me AND number = p.number + 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF (SELECT held FROM public.audit_holds WHERE tenant_id = me ORDER BY number DESC LIMIT 1) THEN
        RAISE EXCEPTION 'audit_expire: the tenant is under legal hold' USING ERRCODE = 'insufficient_privilege';
    END IF;
    days := public.audit_retention_days(me);
    past := (d.month + interval '1 month') AT TIME ZONE 'UTC';
    IF past > clock_timestamp() - make_interval(days => days) THEN
        RAISE EXCEPTION 'audit_expire: % is not past its % days', to_char(d.month, 'YYYY-MM'), days USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF d.first <> 1 + COALESCE((SELECT last FROM public.audit_deletions WHERE tenant_id = me AND number = d.number - 1), 0)
        OR p.gone NOT BETWEEN d.first - 1 AND d.last THEN
        RAISE EXCEPTION 'audit_expire: deletion % does not follow the one before', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The last record was signed for before the month ended.
    IF NOT EXISTS (SELECT 1 FROM public.audit_checkpoints WHERE tenant_id = me AND size = d.last AND root = d.root AND at < past) THEN
        RAISE EXCEPTION 'audit_expire: deletion % does not end at a checkpoint of its month', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF strpos(d.signed, format(E'%s/audit/%s/deletions\ndeletion %s\n%s %s\n%s\n%s\n', (SELECT host FROM public.house_name), me,
            d.number, d.first, d.last, to_char(d.month, 'YYYY-MM'), encode(d.root, 'base64'))) <> 1 THEN
        RAISE EXCEPTION 'audit_expire: deletion % signs something else', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Its event is numbered and under a checkpoint.
    IF NOT EXISTS (SELECT 1 FROM public.audit_leaves l JOIN public.audit_events e ON e.tenant_id = l.tenant_id AND e.at = l.at AND e.id = l.event_id
            WHERE l.tenant_id = me AND l.event_id = d.event_id AND l.seq > d.last AND CASE WHEN e.n = 1 THEN e.body::jsonb ->> 'type' = 'DATA_DELETED'
              AND e.body::jsonb -> 'details' ->> 'deletion' = d.number::text AND e.body::jsonb -> 'details' ->> 'last' = d.last::text END
              AND l.seq <= (SELECT max(size) FROM public.audit_checkpoints WHERE tenant_id = me)) THEN
        RAISE EXCEPTION 'audit_expire: deletion % is not recorded and signed for', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;

    -- Whole rows; a deletion that ends within one is none of ours.
    SELECT max(seq + n - 1) INTO goal FROM public.audit_leaves WHERE tenant_id = me AND seq > p.gone AND seq <= LEAST(d.last, p.gone + batch);
    IF goal IS NULL OR goal > d.last THEN
        RAISE EXCEPTION 'audit_expire: deletion % does not end with a row', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.audit_expiry SET upto = goal, xid = pg_current_xact_id() WHERE tenant_id = me;
    DELETE FROM public.audit_personal q USING public.audit_leaves l
        WHERE l.tenant_id = me AND l.seq > p.gone AND l.seq <= goal AND q.tenant_id = me AND q.event_id = l.event_id;
    DELETE FROM public.audit_events e USING public.audit_leaves l
        WHERE l.tenant_id = me AND l.seq > p.gone AND l.seq <= goal AND e.tenant_id = me AND e.at = l.at AND e.id = l.event_id;
    UPDATE public.audit_expiry SET gone = goal, xid = '0', number = CASE WHEN goal = d.last THEN d.number ELSE number END WHERE tenant_id = me;
    RETURN goal - p.gone;
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
