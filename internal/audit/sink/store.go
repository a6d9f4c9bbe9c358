package sink

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// State is what a sink is doing.
type State string

const (
	Starting   State = "starting"
	Current    State = "current"    // everything is out
	Delivering State = "delivering" // behind, and moving
	Retrying   State = "retrying"   // the receiver is away or busy
	Stopped    State = "stopped"    // denied: tries go on at the ceiling's pace, nothing is skipped
	Refusing   State = "refusing"   // the receiver refuses events
)

// Status is a sink as the operator sees it, kept where every replica can read it.
type Status struct {
	Sink      string    `json:"sink"`
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"` // the last one, even after success
	ErrorAt   time.Time `json:"error_at,omitzero"`
	Delivered int64     `json:"delivered"`       // ever, by all replicas
	Failures  int64     `json:"failures"`        // failed Sends
	SetAside  int64     `json:"set_aside"`       // events
	Behind    int64     `json:"behind"`          // numbers between cursors and logs; a filter may want none of them
	Oldest    time.Time `json:"oldest,omitzero"` // the oldest event known to wait
	Announced bool      `json:"announced"`       // its stop is recorded, its recovery not yet
	Spoke     time.Time `json:"spoke,omitzero"`  // when the last such event was recorded
	Holder    uuid.UUID `json:"holder"`          // the replica at work; zero: none
	Updated   time.Time `json:"updated"`
}

// Cursor is how far a sink came in one tenant's log.
type Cursor struct {
	Seq   int64  // all up to this number is out, filtered or set aside
	Terms string // under which it goes out, as recorded in the tenant's log
}

// Store keeps what must outlive a replica. Cursors only grow, whoever saves them.
type Store interface {
	// HoldSink takes the lease of a sink, or makes it last longer; false:
	// another holder has it.
	HoldSink(ctx context.Context, sink string, holder uuid.UUID, length time.Duration) (bool, error)
	// LeaveSink ends the holder's lease.
	LeaveSink(ctx context.Context, sink string, holder uuid.UUID) error
	// SinkStatus is what was last saved; ok is false for a sink never seen.
	SinkStatus(ctx context.Context, sink string) (st Status, ok bool, err error)
	// SinkStatuses are all, those no longer configured among them.
	SinkStatuses(ctx context.Context) ([]Status, error)
	// SaveSinkStatus keeps st if st.Holder holds the lease.
	SaveSinkStatus(ctx context.Context, st Status) error

	// SinkCursor is one tenant's; ok is false before the first BeginSink.
	SinkCursor(ctx context.Context, scope tenant.Scope, sink string) (c Cursor, ok bool, err error)
	// BeginSink makes the cursor inside a change of the tenant, or sets its terms.
	BeginSink(ctx context.Context, tx plane.Tx, sink string, c Cursor) error
	// AdvanceSink moves the cursor forward, never back.
	AdvanceSink(ctx context.Context, scope tenant.Scope, sink string, seq int64) error
	// SetSinkAside lists an event as refused, inside a change of the tenant.
	SetSinkAside(ctx context.Context, tx plane.Tx, sink string, seq int64, reason string) error
	// ListAside is SetSinkAside for an event about a sink, which gets no event
	// of its own.
	ListAside(ctx context.Context, scope tenant.Scope, sink string, seq int64, reason string) error
}

// Rooms lists the rooms whose logs may leave: every tenant's, whatever its
// status, and the platform's own.
type Rooms interface {
	Rooms(ctx context.Context) ([]plane.Room, error)
}
