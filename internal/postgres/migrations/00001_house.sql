-- +goose Up
-- Run by the owner. The application connects as openclaw_app (or a member of
-- it): a role that owns nothing, cannot bypass row-level security, and holds
-- only what is granted here.

-- Every tenant table carries the same policy; the helper keeps it to one line
-- each and one wording for all. An unset or emptied setting compares with NULL
-- and shows zero rows.
-- +goose StatementBegin
CREATE FUNCTION openclaw_isolate(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY tenant_isolation ON %s
        USING      (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::uuid)$p$, t);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION openclaw_isolate(regclass) FROM PUBLIC;

-- House tables: no customer content, readable without a tenant.

CREATE TABLE tenants (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'isolated', 'erased')),
    tier       text NOT NULL,
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON tenants TO openclaw_app;
GRANT UPDATE (status, tier, version, updated_at) ON tenants TO openclaw_app;

-- Which tenants know an e-mail address, so that a login may leave the tenant
-- out. Holds a digest, no address; a tenant's user row stays the authority.
CREATE TABLE login_names (
    digest bytea NOT NULL CHECK (length(digest) = 32),
    tenant uuid NOT NULL REFERENCES tenants (id),
    PRIMARY KEY (digest, tenant)
);
GRANT SELECT, INSERT, DELETE ON login_names TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
