-- +goose Up
-- Acts on the outside world whose outcome is not recorded yet. The evidence is
-- the intent's event; a row here only finds it again after a crash. A replica
-- whose beat has stopped is gone, and whoever sweeps closes its intents.
CREATE TABLE audit_intents (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id        uuid NOT NULL, -- the intent's event
    replica   uuid NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
SELECT openclaw_isolate('audit_intents');
GRANT SELECT, INSERT, DELETE ON audit_intents TO openclaw_app;

CREATE TABLE replicas (
    id   uuid PRIMARY KEY,
    beat timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON replicas TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
