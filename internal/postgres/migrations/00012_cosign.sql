-- +goose Up
-- Witnesses' cosignatures of the house log's checkpoints, as they came: lines of
-- the signed note, verified before they are written.
CREATE TABLE house_cosignatures (
    size    bigint NOT NULL REFERENCES house_checkpoints (size),
    witness text NOT NULL,
    line    text NOT NULL,
    at      timestamptz NOT NULL, -- by the witness's clock
    PRIMARY KEY (size, witness)
);
CREATE INDEX house_cosignatures_witness ON house_cosignatures (witness, size DESC);
CREATE TRIGGER house_cosignatures_immutable BEFORE UPDATE OR DELETE ON house_cosignatures
    FOR EACH ROW EXECUTE FUNCTION audit_immutable();
CREATE TRIGGER house_cosignatures_no_truncate BEFORE TRUNCATE ON house_cosignatures
    FOR EACH STATEMENT EXECUTE FUNCTION audit_immutable();
GRANT SELECT, INSERT ON house_cosignatures TO openclaw_app;

-- How each witness last answered: bookkeeping, no evidence.
CREATE TABLE house_witnesses (
    name   text PRIMARY KEY,
    state  text NOT NULL CHECK (state IN ('cosigning', 'away', 'ahead', 'fork')),
    detail text NOT NULL DEFAULT '',
    since  timestamptz NOT NULL DEFAULT now(), -- this state
    asked  timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON house_witnesses TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
