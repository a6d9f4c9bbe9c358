-- +goose Up

CREATE TABLE documents (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    kind       text NOT NULL,
    parent     uuid,
    name       text,
    body       text NOT NULL DEFAULT '',
    tags       text[] NOT NULL DEFAULT '{}',
    data       jsonb NOT NULL DEFAULT '{}',
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    words      tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, parent) REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX documents_newest ON documents (tenant_id, kind, created_at DESC, id DESC);
CREATE INDEX documents_parent ON documents (tenant_id, parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX documents_name ON documents (tenant_id, kind, name) WHERE name IS NOT NULL;
SELECT openclaw_isolate('documents');
GRANT SELECT, INSERT, UPDATE, DELETE ON documents TO openclaw_app;

CREATE TABLE idempotency (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    key        bytea NOT NULL CHECK (length(key) = 32),
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    status     int NOT NULL,
    answer     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
SELECT openclaw_isolate('idempotency');
GRANT SELECT, INSERT, DELETE ON idempotency TO openclaw_app;
GRANT UPDATE (status, answer) ON idempotency TO openclaw_app;

CREATE TABLE users (
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    id            uuid NOT NULL,
    email         text NOT NULL CHECK (email = lower(email)),
    name          text NOT NULL DEFAULT '',
    password_hash text NOT NULL,
    must_change   boolean NOT NULL DEFAULT false,
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    epoch         bigint NOT NULL DEFAULT 1,
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);
SELECT openclaw_isolate('users');
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO openclaw_app;

CREATE TABLE user_roles (
    tenant_id  uuid NOT NULL,
    user_id    uuid NOT NULL,
    role       text NOT NULL CHECK (role IN ('tenant_admin', 'org_admin', 'developer', 'operator', 'analyst', 'viewer', 'platform_admin')),
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, role),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    -- Only the house has platform operators.
    CHECK (role <> 'platform_admin' OR tenant_id = '00000000-0000-4000-8000-000000000001')
);
SELECT openclaw_isolate('user_roles');
GRANT SELECT, INSERT, DELETE ON user_roles TO openclaw_app;

CREATE TABLE service_accounts (
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    id          uuid NOT NULL,
    name        text NOT NULL,
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    grants      text[] NOT NULL DEFAULT '{}',
    certificate text, -- the SAN (spiffe:// URI or DNS name) that may stand in for the secret
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    epoch       bigint NOT NULL DEFAULT 1,
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
SELECT openclaw_isolate('service_accounts');
GRANT SELECT, INSERT, UPDATE, DELETE ON service_accounts TO openclaw_app;

CREATE TABLE sessions (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    id         uuid NOT NULL,
    subject    uuid NOT NULL, -- a user or a service account
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX sessions_subject ON sessions (tenant_id, subject) WHERE revoked_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (tenant_id, expires_at);
SELECT openclaw_isolate('sessions');
GRANT SELECT, INSERT, DELETE ON sessions TO openclaw_app;
GRANT UPDATE (revoked_at) ON sessions TO openclaw_app;

-- One row per refresh token ever handed out in a session (the family). A token
-- is spent by setting used_at; seeing a spent one again kills the session.
CREATE TABLE refresh_tokens (
    tenant_id  uuid NOT NULL,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    session_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    PRIMARY KEY (tenant_id, hash),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (tenant_id, session_id);
SELECT openclaw_isolate('refresh_tokens');
GRANT SELECT, INSERT, DELETE ON refresh_tokens TO openclaw_app;
GRANT UPDATE (used_at) ON refresh_tokens TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
