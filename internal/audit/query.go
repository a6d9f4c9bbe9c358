package audit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Entry is an event as the log keeps it.
type Entry struct {
	Seq        int64           `json:"seq" doc:"Dense number within the tenant, from 1"`
	ID         uuid.UUID       `json:"id" format:"uuid"`
	Time       time.Time       `json:"time"`
	Type       Type            `json:"type"`
	Severity   Severity        `json:"severity"`
	Actor      EntryActor      `json:"actor"`
	Action     string          `json:"action,omitempty"`
	Resource   string          `json:"resource,omitempty"`
	Outcome    Outcome         `json:"outcome"`
	Reason     string          `json:"reason,omitempty"`
	IP         string          `json:"ip,omitempty"`
	UserAgent  string          `json:"user_agent,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	PolicyHash string          `json:"policy_hash,omitempty"`
	Details    json.RawMessage `json:"details,omitempty"`
	Leaf       string          `json:"leaf" doc:"RFC 6962 leaf hash, base64url"`
}

// EntryActor is Actor as the log shows it; Name is empty once erased.
type EntryActor struct {
	Kind ActorKind `json:"kind"`
	ID   string    `json:"id,omitempty"`
	Name string    `json:"name,omitempty"`
}

// Query selects entries. Zero fields select all; After is the cursor: entries
// with greater Seq (or smaller, with Newest) follow it.
type Query struct {
	From, To  time.Time
	Types     []Type
	Severity  []Severity
	Actor     string
	Resource  string
	Outcome   Outcome
	RequestID string
	After     int64
	Newest    bool // newest first
	Limit     int  // 1 to 500
}

// Reader reads one tenant's log. Every event committed before the call is
// numbered and visible to it.
type Reader interface {
	Events(ctx context.Context, q Query) (entries []Entry, more bool, err error)
}
