-- +goose Up
-- Anchors of the house log in a public chain. The evidence is the chain's;
-- what is here finds it, and can be sent again.
CREATE TABLE house_anchors (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    size       bigint NOT NULL REFERENCES house_checkpoints (size),
    root       bytea NOT NULL CHECK (length(root) = 32),
    chain_id   numeric(20) NOT NULL,
    sender     text NOT NULL,
    nonce      numeric(20) NOT NULL,
    state      text NOT NULL CHECK (state IN ('sent', 'mined', 'final', 'replaced', 'failed')),
    problem    text NOT NULL DEFAULT '',
    hash       text NOT NULL DEFAULT '', -- of the attempt that was mined
    block      numeric(20),
    block_hash text,
    block_time timestamptz,
    paid       numeric(20),              -- wei
    created    timestamptz NOT NULL,
    updated    timestamptz NOT NULL
);
CREATE INDEX house_anchors_open ON house_anchors (id) WHERE state IN ('sent', 'mined');
CREATE INDEX house_anchors_created ON house_anchors (created);

-- Every transaction that was ever signed for one, stored before it is sent.
CREATE TABLE house_anchor_attempts (
    hash   text PRIMARY KEY,
    anchor bigint NOT NULL REFERENCES house_anchors (id),
    raw    bytea NOT NULL,
    tip    numeric(20) NOT NULL, -- wei per gas
    cap    numeric(20) NOT NULL,
    at     timestamptz NOT NULL
);
CREATE INDEX house_anchor_attempts_anchor ON house_anchor_attempts (anchor, at);

-- What the last round found.
CREATE TABLE house_anchor_sight (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    sight jsonb NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON house_anchors, house_anchor_sight TO openclaw_app;
GRANT SELECT, INSERT ON house_anchor_attempts TO openclaw_app;

-- +goose Down
SELECT 1 / 0; -- migrations go forward only
