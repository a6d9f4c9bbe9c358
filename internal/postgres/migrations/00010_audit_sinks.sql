-- +goose Up
-- Where the audit log's sinks stand. A cursor is a tenant's; leases and states
-- of whole sinks are the platform's, in its own room.

CREATE TABLE sink_cursors (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    sink      text NOT NULL,
    seq       bigint NOT NULL CHECK (seq >= 0), -- all up to here is out, filtered or set aside
    terms     text NOT NULL,                    -- as the tenant's own log tells them
    PRIMARY KEY (tenant_id, sink)
);

-- Events that a receiver refused for good: each has an event of its own.
CREATE TABLE sink_set_aside (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    sink      text NOT NULL,
    seq       bigint NOT NULL,
    reason    text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, sink, seq)
);

CREATE TABLE sink_states (
    tenant_id uuid NOT NULL REFERENCES tenants (id), -- the platform
    sink      text NOT NULL,
    status    jsonb,
    holder    uuid,
    until     timestamptz,
    PRIMARY KEY (tenant_id, sink)
);

SELECT openclaw_isolate('sink_cursors');
SELECT openclaw_isolate('sink_set_aside');
SELECT openclaw_isolate('sink_states');
GRANT SELECT, INSERT, UPDATE ON sink_cursors, sink_states TO openclaw_app;
GRANT SELECT, INSERT ON sink_set_aside TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
