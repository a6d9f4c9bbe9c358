package audit

import (
	"context"
	"encoding/json"
	"io"
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
	// Unchecked lets an Export pass over what indices say cannot match: faster,
	// and whoever alters those hides records from it.
	Unchecked bool
}

// Reader reads one tenant's log. Every event committed before the call is
// numbered and visible to it.
type Reader interface {
	Events(ctx context.Context, q Query) (entries []Entry, more bool, err error)
	// Keeping tells how long bodies are kept, of a legal hold, and what was
	// deleted after its retention.
	Keeping(ctx context.Context) (Keeping, error)
	Prover
}

// Prover proves what a tenant's log holds. All that was committed before a call
// is in the checkpoint that it answers from, unless nobody here can sign.
type Prover interface {
	Checkpoint(ctx context.Context) (Published, error)
	// Inclusion proves that record seq stands under the newest checkpoint, which
	// is made anew only for a record that is not under it yet. A number beyond
	// answers not_found.
	Inclusion(ctx context.Context, seq int64) (Inclusion, error)
	// Consistency proves that the log of from records is a prefix of the log
	// of to records; to 0 is the newest checkpoint's.
	Consistency(ctx context.Context, from, to int64) (Consistency, error)
	// Bundle writes a proof bundle: one file that needs none of our servers.
	// What it wrote before an error proves nothing.
	Bundle(ctx context.Context, w io.Writer, r Range) error
	// Export writes what q selects, oldest first, and answers how many entries
	// it wrote whole and the last one's number, from which After resumes. Unless
	// q says Unchecked, it reads all records after After and holds them against
	// the newest checkpoint: what does not fit is an error before the end.
	Export(ctx context.Context, w io.Writer, f Format, q Query) (n, last int64, err error)
}

// Published is a signed checkpoint and the keys it is checked with: C2SP signed
// notes and vkeys. The keys are empty where the asker's process has none.
type Published struct {
	Checkpoint string `json:"checkpoint" doc:"C2SP signed note: origin, size, root, signature"`
	Size       int64  `json:"size" doc:"Records under it"`
	Root       string `json:"root" doc:"RFC 6962 root, base64"`
	Key        string `json:"key,omitempty" doc:"The log's verifier key (vkey); keep it"`
	HouseKey   string `json:"house_key,omitempty" doc:"The house log's verifier key"`
	// HouseCheckpoint is the newest that witnesses cosigned, or without any the newest.
	HouseCheckpoint string   `json:"house_checkpoint,omitempty" doc:"The house log's checkpoint with its witnesses' cosignatures"`
	Successions     []string `json:"successions,omitempty" doc:"Changes of the key, oldest first"`
}

// Inclusion is an RFC 6962 audit path.
type Inclusion struct {
	Seq        int64    `json:"seq"`
	Leaf       string   `json:"leaf" doc:"RFC 6962 leaf hash, base64"`
	Proof      []string `json:"proof" doc:"Hashes from the leaf to the root, base64"`
	Checkpoint string   `json:"checkpoint"`
}

// Consistency is an RFC 6962 consistency proof.
type Consistency struct {
	From       int64    `json:"from"`
	FromRoot   string   `json:"from_root"`
	To         int64    `json:"to"`
	ToRoot     string   `json:"to_root"`
	Proof      []string `json:"proof"`
	Checkpoint string   `json:"checkpoint"`
}

// Range selects records by number (0: open) or by time. Since names the size of
// an earlier checkpoint that the holder kept; the bundle then proves that the
// log only grew.
type Range struct {
	From, To           int64
	FromTime, ToTime   time.Time
	Since              int64
	WithoutDisclosures bool // leave personal values as commitments
}

// Settings are how a tenant wants its log kept.
type Settings struct {
	// DurableReads has plain reads durable before their answer, as other events
	// are. Otherwise they follow within 100 ms, and a crash may lose them.
	DurableReads bool `json:"durable_reads"`
}

// Format is an export's.
type Format string

const (
	JSONL Format = "jsonl" // the records as committed to; unfiltered they verify
	CSV   Format = "csv"
	OCSF  Format = "ocsf"
)
