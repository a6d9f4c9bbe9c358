-- +goose Up
-- How long bodies are kept, who may not have any deleted, what was deleted, and
-- how many plain reads each process promised to record. docs/AUDIT.md says what
-- for. Everything here goes by the database's clock, in UTC.

-- Retention in days; the house's rows are the platform's, a tenant's can only
-- lengthen it. The newest row counts. One that shortens comes into force after
-- seven days, so that nobody can lower and delete in one breath.
CREATE TABLE audit_retention (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    number    int NOT NULL,
    days      int NOT NULL CHECK (days BETWEEN 30 AND 36500),
    before    int NOT NULL,          -- what was in force when it was written
    owner     text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    at        timestamptz NOT NULL,
    force_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number)
);

-- A held tenant's log loses nothing. The newest row counts.
CREATE TABLE audit_holds (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    number    int NOT NULL,
    held      boolean NOT NULL,
    owner     text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number)
);

-- Signed deletions: the bodies of records first to last go, once the event that
-- says so is under a checkpoint.
CREATE TABLE audit_deletions (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    number    int NOT NULL CHECK (number > 0),
    first     bigint NOT NULL CHECK (first > 0),
    last      bigint NOT NULL CHECK (last >= first),
    month     date NOT NULL CHECK (extract(day FROM month) = 1),
    root      bytea NOT NULL CHECK (length(root) = 32), -- of the tree of the records 1 to last
    days      int NOT NULL,
    event_id  uuid NOT NULL,
    signed    text NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number)
);

-- How far deletions are carried out: bookkeeping, written by audit_expire alone.
CREATE TABLE audit_expiry (
    tenant_id uuid PRIMARY KEY REFERENCES tenants (id),
    number    int NOT NULL DEFAULT 0,    -- deletions carried out whole
    gone      bigint NOT NULL DEFAULT 0, -- bodies up to this record are gone
    upto      bigint NOT NULL DEFAULT 0, -- while xid deletes: as far as this
    xid       xid8 NOT NULL DEFAULT '0'
);

-- Plain reads. A process leases, ahead of the answers, how many it may promise
-- to record; every commit of such records adds a row to note_counts in the same
-- transaction, which the foreign key refuses once the lease is settled.
CREATE TABLE note_leases (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    replica   uuid NOT NULL,
    upto      bigint NOT NULL CHECK (upto >= 0),
    reported  bigint,                    -- lost at most, as another replica reported
    PRIMARY KEY (tenant_id, replica)
);
CREATE TABLE note_counts (
    tenant_id uuid NOT NULL,
    replica   uuid NOT NULL,
    n         bigint NOT NULL,
    FOREIGN KEY (tenant_id, replica) REFERENCES note_leases (tenant_id, replica)
);
CREATE INDEX note_counts_replica ON note_counts (tenant_id, replica);

SELECT openclaw_isolate('audit_retention');
SELECT openclaw_isolate('audit_holds');
SELECT openclaw_isolate('audit_deletions');
SELECT openclaw_isolate('audit_expiry');
SELECT openclaw_isolate('note_leases');
SELECT openclaw_isolate('note_counts');
GRANT SELECT, INSERT ON audit_retention, audit_holds, audit_deletions TO openclaw_app;
GRANT SELECT ON audit_expiry TO openclaw_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON note_leases TO openclaw_app;
GRANT SELECT, INSERT, DELETE ON note_counts TO openclaw_app;

-- Who decides on a tenant's log and who deletes from it wait for each other.
-- +goose StatementBegin
CREATE FUNCTION audit_expiry_lock(t uuid) RETURNS void LANGUAGE sql AS $$
    SELECT pg_catalog.pg_advisory_xact_lock(1868789872, pg_catalog.hashtext(t::text))
$$;
-- +goose StatementEnd

-- The days in force for a tenant: the platform's, or its own if those are more.
-- +goose StatementBegin
CREATE FUNCTION audit_retention_days(t uuid) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    back  text := COALESCE(current_setting('app.current_tenant_id', true), '');
    house int;
    own   int;
BEGIN
    PERFORM set_config('app.current_tenant_id', '00000000-0000-4000-8000-000000000001', true);
    SELECT CASE WHEN force_at <= clock_timestamp() THEN days ELSE before END INTO house
        FROM public.audit_retention WHERE tenant_id = '00000000-0000-4000-8000-000000000001' ORDER BY number DESC LIMIT 1;
    PERFORM set_config('app.current_tenant_id', t::text, true);
    SELECT CASE WHEN force_at <= clock_timestamp() THEN days ELSE before END INTO own
        FROM public.audit_retention WHERE tenant_id = t ORDER BY number DESC LIMIT 1;
    PERFORM set_config('app.current_tenant_id', back, true);
    RETURN GREATEST(COALESCE(house, 2555), COALESCE(own, 0));
END $$;
-- +goose StatementEnd

-- Numbers, times and force are the database's to say, whoever inserts.
-- +goose StatementBegin
CREATE FUNCTION audit_stamp() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.audit_expiry_lock(NEW.tenant_id);
    NEW.at := clock_timestamp();
    IF TG_TABLE_NAME = 'audit_retention' THEN
        NEW.number := 1 + COALESCE((SELECT max(number) FROM public.audit_retention WHERE tenant_id = NEW.tenant_id), 0);
        NEW.before := public.audit_retention_days(NEW.tenant_id);
        NEW.force_at := CASE WHEN NEW.days < NEW.before THEN NEW.at + interval '7 days' ELSE NEW.at END;
    ELSIF TG_TABLE_NAME = 'audit_holds' THEN
        NEW.number := 1 + COALESCE((SELECT max(number) FROM public.audit_holds WHERE tenant_id = NEW.tenant_id), 0);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_retention_stamp BEFORE INSERT ON audit_retention FOR EACH ROW EXECUTE FUNCTION audit_stamp();
CREATE TRIGGER audit_holds_stamp BEFORE INSERT ON audit_holds FOR EACH ROW EXECUTE FUNCTION audit_stamp();
CREATE TRIGGER audit_deletions_stamp BEFORE INSERT ON audit_deletions FOR EACH ROW EXECUTE FUNCTION audit_stamp();

-- An event's time is its writer's to say; how old a record is goes by the
-- checkpoint over it, whose time is the database's.
-- +goose StatementBegin
CREATE FUNCTION audit_clock() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.at := clock_timestamp();
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_checkpoints_stamp BEFORE INSERT ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION audit_clock();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['audit_retention', 'audit_holds', 'audit_deletions'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit_immutable()', t || '_immutable', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable()', t || '_no_truncate', t);
    END LOOP;
END $$;
-- +goose StatementEnd

-- Of audit_events only what audit_expire is deleting in this transaction goes.
-- +goose StatementBegin
CREATE FUNCTION audit_events_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT 1 FROM public.audit_expiry x JOIN public.audit_leaves l ON l.tenant_id = x.tenant_id
        WHERE x.tenant_id = OLD.tenant_id AND x.xid = pg_current_xact_id()
          AND l.event_id = OLD.id AND l.at = OLD.at AND l.seq > x.gone AND l.seq <= x.upto) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: % on % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
DROP TRIGGER audit_events_immutable ON audit_events;
CREATE TRIGGER audit_events_immutable BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_guard();

-- Carry out the next signed deletion of the tenant that is set, at most batch
-- records of it, and return how many; 0 means that none is left. It trusts
-- nobody: whatever its caller inserted is held against the log itself. It cannot
-- check an Ed25519 signature; a row with a false one deletes no more than a true
-- one would.
-- +goose StatementBegin
CREATE FUNCTION audit_expire(batch int) RETURNS bigint
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
            WHERE l.tenant_id = me AND l.event_id = d.event_id AND l.seq > d.last AND e.type = 'DATA_DELETED'
              AND e.body::jsonb -> 'details' ->> 'deletion' = d.number::text AND e.body::jsonb -> 'details' ->> 'last' = d.last::text
              AND l.seq <= (SELECT max(size) FROM public.audit_checkpoints WHERE tenant_id = me)) THEN
        RAISE EXCEPTION 'audit_expire: deletion % is not recorded and signed for', d.number USING ERRCODE = 'insufficient_privilege';
    END IF;

    goal := LEAST(d.last, p.gone + batch);
    UPDATE public.audit_expiry SET upto = goal, xid = pg_current_xact_id() WHERE tenant_id = me;
    DELETE FROM public.audit_personal q USING public.audit_leaves l
        WHERE l.tenant_id = me AND l.seq > p.gone AND l.seq <= goal AND q.tenant_id = me AND q.event_id = l.event_id;
    DELETE FROM public.audit_events e USING public.audit_leaves l
        WHERE l.tenant_id = me AND l.seq > p.gone AND l.seq <= goal AND e.tenant_id = me AND e.at = l.at AND e.id = l.event_id;
    UPDATE public.audit_expiry SET gone = goal, xid = '0', number = CASE WHEN goal = d.last THEN d.number ELSE number END WHERE tenant_id = me;
    RETURN goal - p.gone;
END $$;
-- +goose StatementEnd

-- Drop one month's partition in which no tenant has a body left. It returns
-- whether it did, and gives way to whoever reads the log meanwhile.
-- +goose StatementBegin
CREATE FUNCTION audit_drop_month() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    back text := COALESCE(current_setting('app.current_tenant_id', true), '');
    part record;
    t    uuid;
    full_ boolean;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.audit_events'::regclass AND c.relname ~ '^audit_events_[0-9]{4}_[0-9]{2}$'
          AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month'
              <= (clock_timestamp() AT TIME ZONE 'UTC') - make_interval(days => public.audit_retention_days('00000000-0000-4000-8000-000000000001'))
        ORDER BY 1
    LOOP
        FOR attempt IN 1..2 LOOP -- looked at before it is locked, and again under the lock
            full_ := false;
            FOR t IN SELECT id FROM public.tenants LOOP
                PERFORM set_config('app.current_tenant_id', t::text, true);
                EXECUTE format('SELECT EXISTS (SELECT 1 FROM public.%I WHERE tenant_id = $1)', part.relname) INTO full_ USING t;
                EXIT WHEN full_;
            END LOOP;
            EXIT WHEN full_;
            IF attempt = 1 THEN
                LOCK TABLE ONLY public.audit_events IN ACCESS EXCLUSIVE MODE;
                EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', part.relname);
            END IF;
        END LOOP;
        IF NOT full_ THEN
            EXECUTE format('DROP TABLE public.%I', part.relname);
        END IF;
        EXIT WHEN NOT full_;
    END LOOP;
    PERFORM set_config('app.current_tenant_id', back, true);
    RETURN COALESCE(NOT full_, false);
END $$;
-- +goose StatementEnd
GRANT SELECT ON goose_db_version TO openclaw_app; -- a start compares functions with the migrations it knows
REVOKE ALL ON FUNCTION audit_expire(int), audit_drop_month() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_expire(int), audit_drop_month() TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
