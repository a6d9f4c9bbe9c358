-- +goose Up

-- Whom a client certificate's name (spiffe:// URI or DNS SAN) belongs to. One
-- name has one owner on the whole platform. Asked before anybody is admitted.
CREATE TABLE certificate_names (
    name    text PRIMARY KEY,
    tenant  uuid NOT NULL REFERENCES tenants (id),
    subject uuid NOT NULL
);
CREATE INDEX certificate_names_subject ON certificate_names (tenant, subject);
GRANT SELECT, INSERT, DELETE ON certificate_names TO openclaw_app;

-- Blocked networks: the platform's, shared by all replicas. The history is what
-- replicas follow; writers take turns, so its numbers appear in order.
CREATE TABLE block_changes (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix  cidr NOT NULL,
    lifted  boolean NOT NULL DEFAULT false,
    by      text NOT NULL DEFAULT '',
    reason  text NOT NULL DEFAULT '',
    owner   text NOT NULL DEFAULT '',
    strikes int NOT NULL DEFAULT 0,
    since   timestamptz,
    until   timestamptz,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX block_changes_at ON block_changes (at);
CREATE TABLE blocks (
    prefix  cidr PRIMARY KEY,
    reason  text NOT NULL,
    owner   text NOT NULL,
    strikes int NOT NULL,
    since   timestamptz NOT NULL,
    until   timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON block_changes TO openclaw_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON blocks TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
