-- +goose Up
-- The log's tree and what is signed of it; docs/AUDIT.md has the layout. Rows
-- are written once. Level 0 of a tenant's tree is audit_leaves.

CREATE TABLE audit_nodes (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    level     int NOT NULL CHECK (level > 0 AND level % 8 = 0),
    index     bigint NOT NULL CHECK (index >= 0),
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, level, index)
);

CREATE TABLE audit_checkpoints (
    tenant_id  uuid NOT NULL REFERENCES tenants (id),
    size       bigint NOT NULL CHECK (size > 0),
    root       bytea NOT NULL CHECK (length(root) = 32),
    signed     text NOT NULL,   -- C2SP signed note
    frontier   bytea NOT NULL,  -- the tree's edge at this size
    house_salt bytea NOT NULL CHECK (length(house_salt) = 16),
    house_leaf bytea NOT NULL CHECK (length(house_leaf) = 32),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, size)
);

-- Changes of a log's key: notes signed by the old key and the new.
CREATE TABLE audit_successions (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    number    int NOT NULL CHECK (number > 0),
    size      bigint NOT NULL,
    signed    text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, number)
);
SELECT openclaw_isolate('audit_nodes');
SELECT openclaw_isolate('audit_checkpoints');
SELECT openclaw_isolate('audit_successions');

-- The house log: leaves are hashes over salted commitments, so it says nothing
-- of any tenant. house_queue holds those not yet in it, and nothing else.
CREATE TABLE house_leaves (
    index bigint PRIMARY KEY CHECK (index >= 0),
    leaf  bytea NOT NULL UNIQUE CHECK (length(leaf) = 32)
);
CREATE TABLE house_nodes (
    level int NOT NULL CHECK (level > 0 AND level % 8 = 0),
    index bigint NOT NULL CHECK (index >= 0),
    hash  bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, index)
);
CREATE TABLE house_checkpoints (
    size     bigint PRIMARY KEY CHECK (size > 0),
    root     bytea NOT NULL CHECK (length(root) = 32),
    signed   text NOT NULL,
    frontier bytea NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE house_successions (
    number int PRIMARY KEY CHECK (number > 0),
    size   bigint NOT NULL,
    signed text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE house_queue (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    leaf bytea NOT NULL CHECK (length(leaf) = 32)
);
-- The name that all logs of this installation carry, fixed when the first
-- checkpoint is signed: a host that is renamed keeps its logs' origins.
CREATE TABLE house_name (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    host text NOT NULL
);

GRANT SELECT, INSERT ON audit_nodes, audit_checkpoints, audit_successions,
    house_leaves, house_nodes, house_checkpoints, house_successions, house_name TO openclaw_app;
GRANT SELECT, INSERT, DELETE ON house_queue TO openclaw_app;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['audit_nodes', 'audit_checkpoints', 'audit_successions',
        'house_leaves', 'house_nodes', 'house_checkpoints', 'house_successions', 'house_name'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit_immutable()', t || '_immutable', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable()', t || '_no_truncate', t);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
