-- +goose Up
-- How a tenant wants its log kept. No row: the defaults.
CREATE TABLE audit_settings (
    tenant_id     uuid PRIMARY KEY REFERENCES tenants (id),
    durable_reads boolean NOT NULL DEFAULT false -- plain reads are durable before their answer
);
SELECT openclaw_isolate('audit_settings');
GRANT SELECT, INSERT, UPDATE ON audit_settings TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
