-- +goose Up
-- How far each tenant's log is in the archive. Retention goes by upto: with an
-- archive configured, a body with a greater number is nowhere else, and a tenant
-- without a row has nothing archived.

CREATE TABLE audit_archive (
    tenant_id  uuid PRIMARY KEY REFERENCES tenants (id),
    upto       bigint NOT NULL DEFAULT 0,   -- records 1 to upto were read back
    segments   bigint NOT NULL DEFAULT 0,
    bytes      bigint NOT NULL DEFAULT 0,
    last       timestamptz,                 -- when a segment was last added
    halted     text NOT NULL DEFAULT '',    -- why nothing goes on; '': it does
    over       boolean NOT NULL DEFAULT false, -- the next key may be written over, once
    holder     text NOT NULL DEFAULT '',    -- the replica at work, until held_until
    held_until timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE audit_segments (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    first     bigint NOT NULL CHECK (first > 0),
    last      bigint NOT NULL CHECK (last >= first),
    key       text NOT NULL,   -- of the object, without the bucket's prefix
    version   text NOT NULL,
    digest    bytea NOT NULL CHECK (length(digest) = 32), -- SHA-256 of the object
    bytes     bigint NOT NULL,
    size      bigint NOT NULL CHECK (size >= last), -- records under its checkpoint
    newest    timestamptz NOT NULL, -- its newest event's time
    until     timestamptz NOT NULL, -- when its lock ends
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, first)
);
SELECT openclaw_isolate('audit_archive');
SELECT openclaw_isolate('audit_segments');
GRANT SELECT, INSERT, UPDATE ON audit_archive TO openclaw_app;
GRANT SELECT, INSERT ON audit_segments TO openclaw_app;

CREATE TRIGGER audit_segments_immutable BEFORE UPDATE OR DELETE ON audit_segments
    FOR EACH ROW EXECUTE FUNCTION audit_immutable();
CREATE TRIGGER audit_segments_no_truncate BEFORE TRUNCATE ON audit_segments
    FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable();

-- Bodies are deleted on the word of upto, so no mistake of ours may let it run
-- ahead of the segments.
-- +goose StatementBegin
CREATE FUNCTION audit_archive_behind() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.upto <> COALESCE((SELECT s.last FROM public.audit_segments s WHERE s.tenant_id = NEW.tenant_id ORDER BY s.first DESC LIMIT 1), 0) THEN
        RAISE EXCEPTION 'audit_archive: upto % is not where the segments end', NEW.upto USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_archive_behind AFTER INSERT OR UPDATE ON audit_archive
    FOR EACH ROW EXECUTE FUNCTION audit_archive_behind();

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
