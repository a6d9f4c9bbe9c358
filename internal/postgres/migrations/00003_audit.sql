-- +goose Up
-- The log. An event commits inside the caller's own transaction, unnumbered, so
-- no writer waits for another's commit. audit_sequence() then gives every
-- committed event the tenant's next dense number. docs/AUDIT.md says why in
-- this order and what it leaves open.

CREATE TABLE audit_events (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    id          uuid NOT NULL,
    at          timestamptz NOT NULL,
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    type        text NOT NULL,
    severity    text NOT NULL,
    actor       text NOT NULL,
    resource    text NOT NULL,
    outcome     text NOT NULL,
    request_id  text NOT NULL,
    body        text NOT NULL,  -- RFC 8785 canonical JSON; the columns above repeat parts of it for filtering
    leaf        bytea NOT NULL CHECK (length(leaf) = 32),  -- RFC 6962 leaf hash of body
    PRIMARY KEY (tenant_id, at, id)
) PARTITION BY RANGE (at);
CREATE INDEX audit_events_xid ON audit_events (tenant_id, xid);

-- What an event says of a person, apart from the event: the body commits to it
-- with a salt, so a row here can be erased and the log still verifies.
CREATE TABLE audit_personal (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    event_id   uuid NOT NULL,
    salts      bytea NOT NULL CHECK (length(salts) = 48), -- of name, address, user agent
    actor_name text,
    ip         text,
    user_agent text,
    PRIMARY KEY (tenant_id, event_id)
);

CREATE TABLE audit_leaves (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    seq       bigint NOT NULL CHECK (seq > 0),
    at        timestamptz NOT NULL,
    event_id  uuid NOT NULL,
    leaf      bytea NOT NULL CHECK (length(leaf) = 32),
    PRIMARY KEY (tenant_id, seq),
    UNIQUE (tenant_id, event_id)
);

-- Where the sequencer stands: bookkeeping, no evidence. watermark and floor
-- only shorten its search; system is the cluster whose transaction ids
-- watermark counts in, so that a restored dump starts the search anew.
CREATE TABLE audit_heads (
    tenant_id uuid PRIMARY KEY REFERENCES tenants (id),
    size      bigint NOT NULL DEFAULT 0,
    watermark xid8 NOT NULL DEFAULT '0',
    floor     timestamptz NOT NULL DEFAULT '-infinity',
    system    bigint NOT NULL DEFAULT 0
);

SELECT openclaw_isolate('audit_events');
SELECT openclaw_isolate('audit_personal');
SELECT openclaw_isolate('audit_leaves');
SELECT openclaw_isolate('audit_heads');
GRANT SELECT, INSERT ON audit_events, audit_leaves, audit_personal TO openclaw_app;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO openclaw_app;

-- Belt beside braces: even a role that holds the grant meets the trigger.
-- +goose StatementBegin
CREATE FUNCTION audit_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % on % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_events_immutable BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_immutable();
CREATE TRIGGER audit_leaves_immutable BEFORE UPDATE OR DELETE ON audit_leaves
    FOR EACH ROW EXECUTE FUNCTION audit_immutable();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable();
CREATE TRIGGER audit_leaves_no_truncate BEFORE TRUNCATE ON audit_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable();

-- One partition a month. The application may ask for them (it cannot create
-- tables itself); the default partition catches what no month was made for.
-- +goose StatementBegin
CREATE FUNCTION audit_partitions(ahead int) RETURNS int
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
        EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.audit_events FOR VALUES FROM (%L) TO (%L)',
            sch, part, sch, first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('SELECT %I.openclaw_isolate(%L)', sch, format('%I.%I', sch, part));
        EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I.%I FOR EACH STATEMENT EXECUTE FUNCTION %I.audit_immutable()',
            sch, part, sch);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION audit_partitions(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_partitions(int) TO openclaw_app;

CREATE TABLE audit_events_other PARTITION OF audit_events DEFAULT;
SELECT openclaw_isolate('audit_events_other');
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_events_other
    FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable();
SELECT audit_partitions(3);

-- Number what is committed and not yet numbered, in the tenant that is set.
-- Sequencers of one tenant queue on its head; writers of events never do.
--
-- The order is by transaction id: an event acknowledged before another one's
-- transaction began has the smaller number. xmin is read before the search, so
-- every transaction below it has ended and its events were seen by this search
-- or an earlier one; whatever is still open lies at or above the new watermark.
-- Returns how many were numbered; fewer than batch means none is left.
-- +goose StatementBegin
CREATE FUNCTION audit_sequence(batch int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    me   uuid := NULLIF(current_setting('app.current_tenant_id', true), '')::uuid;
    sys  bigint := (SELECT system_identifier FROM pg_control_system());
    head audit_heads;
    low  xid8;
    n    int;
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
    INSERT INTO audit_leaves (tenant_id, seq, at, event_id, leaf)
    SELECT me, head.size + row_number() OVER (ORDER BY p.xid, p.id), p.at, p.id, p.leaf
    FROM (SELECT e.xid, e.id, e.at, e.leaf
          FROM audit_events e
          WHERE e.tenant_id = me AND e.xid >= head.watermark AND e.at >= head.floor
            AND NOT EXISTS (SELECT 1 FROM audit_leaves l WHERE l.tenant_id = me AND l.event_id = e.id)
          ORDER BY e.xid, e.id LIMIT batch) p;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n > 0 OR head.system <> sys THEN
        UPDATE audit_heads SET size = head.size + n, system = sys,
            watermark = CASE WHEN n < batch THEN low ELSE head.watermark END,
            floor = CASE WHEN n < batch THEN now() - interval '1 day' ELSE head.floor END
        WHERE tenant_id = me;
    END IF;
    RETURN n;
END $$;
-- +goose StatementEnd
GRANT EXECUTE ON FUNCTION audit_sequence(int) TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
