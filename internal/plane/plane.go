// Package plane gives a tenant its Room: documents, audit log and, later,
// vectors, graph, cache and keys, all bound to one tenant. No method here takes
// a tenant id, so a call into another tenant cannot be written.
//
// Reading is free of ceremony; writing exists only on a Tx, and a Tx exists
// only inside Room.Change, which commits the change and its audit event
// together or not at all.
package plane

import (
	"context"
	"encoding/json"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/google/uuid"
)

// Store is what a technology offers below the door. Its methods take a Scope,
// which only tenant.Door makes.
type Store interface {
	Documents(tenant.Scope) Documents
	Log(tenant.Scope) audit.Reader
	Change(context.Context, tenant.Scope, audit.Event, func(Tx) error) (audit.Receipt, error)
	Record(context.Context, tenant.Scope, audit.Event) (audit.Receipt, error)
	RecordAll(context.Context, tenant.Scope, []audit.Event) ([]audit.Receipt, error)
	Note(context.Context, tenant.Scope, audit.Event) error
	Promise(context.Context, tenant.Scope) error
	Keep(context.Context, tenant.Scope, audit.Event) error
	Act(context.Context, tenant.Scope, audit.Event, Deed) (audit.Receipt, error)
	AuditSettings(context.Context, tenant.Scope) (audit.Settings, error)
}

// Deed acts on the outside world. It answers how that ended ("" goes by the
// error) and what its event should say besides.
type Deed func(context.Context) (audit.Outcome, map[string]any, error)

// Plane is where rooms are.
type Plane struct{ store Store }

// New returns a plane over a store.
func New(store Store) *Plane { return &Plane{store: store} }

// Enter gives the room of the tenant that scope admits to.
func (p *Plane) Enter(scope tenant.Scope) (Room, error) {
	if err := scope.Check(); err != nil {
		return Room{}, err
	}
	return Room{scope: scope, store: p.store}, nil
}

// Room is one tenant's data. The zero Room panics: it is nobody's.
type Room struct {
	scope tenant.Scope
	store Store
}

// Scope is the capability the room was entered with.
func (r Room) Scope() tenant.Scope { return r.scope }

// Documents reads the tenant's documents.
func (r Room) Documents() Documents { return r.store.Documents(r.scope) }

// Log reads the tenant's audit log.
func (r Room) Log() audit.Reader { return r.store.Log(r.scope) }

// AuditSettings tells how the tenant wants its log kept.
func (r Room) AuditSettings(ctx context.Context) (audit.Settings, error) {
	return r.store.AuditSettings(ctx, r.scope)
}

// Change runs fn and commits what it wrote together with ev, in one
// transaction. When fn fails, or the event cannot be written, nothing happened;
// an unwritable event answers audit_unavailable. fn may run again after a
// serialization failure and must not act on the outside world.
func (r Room) Change(ctx context.Context, ev audit.Event, fn func(Tx) error) (audit.Receipt, error) {
	return r.store.Change(ctx, r.scope, ev, fn)
}

// Record writes an event that changes nothing else (a refusal, a login that
// failed, a read) and returns when it is durable. Writers share commits.
func (r Room) Record(ctx context.Context, ev audit.Event) (audit.Receipt, error) {
	return r.store.Record(ctx, r.scope, ev)
}

// RecordAll is Record for many, as an import or a flood has them: in their order
// by thousands, whose commits run side by side. After an error some of them may
// be in the log; their receipts come with it.
func (r Room) RecordAll(ctx context.Context, events []audit.Event) ([]audit.Receipt, error) {
	return r.store.RecordAll(ctx, r.scope, events)
}

// Note writes an event soon, and returns when it is queued: for plain reads. A
// full queue makes the caller wait.
func (r Room) Note(ctx context.Context, ev audit.Event) error {
	return r.store.Note(ctx, r.scope, ev)
}

// Promise counts a note before what it tells of is shown, and returns when that
// outlives this process: after a crash the log says how many promised notes it
// does not have. An error means that nothing may be shown.
func (r Room) Promise(ctx context.Context) (Promise, error) {
	return Promise{r}, r.store.Promise(ctx, r.scope)
}

// Promise is a note that is owed. The zero Promise panics.
type Promise struct{ room Room }

// Keep writes the note as Room.Note does, once.
func (p Promise) Keep(ctx context.Context, ev audit.Event) error {
	return p.room.store.Keep(ctx, p.room.scope, ev)
}

// Act does what no transaction covers (a model call, a kill, an egress): ev is
// durable as an intent before do runs, and its outcome after, paired by the
// detail "intent". An intent that cannot be written answers audit_unavailable
// and nothing is done. After a crash the intent is closed as unknown.
func (r Room) Act(ctx context.Context, ev audit.Event, do Deed) (audit.Receipt, error) {
	return r.store.Act(ctx, r.scope, ev, do)
}

// Tx is the inside of a Change.
type Tx interface {
	Scope() tenant.Scope
	Documents() DocumentWriter
	// Detail adds to the event's details what is known only inside.
	Detail(key string, value any)
	// Once claims the key of an idempotent request, first of all. A key that
	// already has its answer makes the Change fail with *Replay, and nothing is
	// written; two who claim at once are told apart. Answer keeps the answer.
	Once(ctx context.Context, key OnceKey) error
	Answer(key OnceKey, status int, answer []byte)
}

// OnceKey names one idempotent request: the caller's Idempotency-Key with who
// and where, and a digest of the body so that a key used for another request
// shows.
type OnceKey struct {
	Key    [32]byte
	Digest [32]byte
}

// Replay is the earlier answer to an idempotent request.
type Replay struct {
	Digest [32]byte
	Status int
	Answer []byte
}

func (*Replay) Error() string { return "the request was already answered" }

// Document is one record of a tenant. Kind and ID name it; Parent is the
// document it belongs to (a memory's agent). Name is unique within a kind where
// it is not empty. Text is what full-text search reads. Data is JSON of the
// kind's own shape. Version grows by one at each update.
type Document struct {
	Kind    string
	ID      uuid.UUID
	Parent  uuid.UUID
	Name    string
	Text    string
	Tags    []string
	Data    json.RawMessage
	Version int64
	Created time.Time
	Updated time.Time
}

// Filter selects documents of one kind, newest first. After is an opaque
// cursor from Page.Next.
type Filter struct {
	Kind   string
	Parent uuid.UUID
	Tag    string
	After  string
	Limit  int // 1 to 200
}

// Page is one page of a listing; Next is empty at the end.
type Page struct {
	Documents []Document
	Next      string
}

// Hit is a search result; Score orders hits within one answer only.
type Hit struct {
	Document
	Score float64
}

// Documents reads documents. A missing document answers not_found, exactly as
// another tenant's does.
type Documents interface {
	Get(ctx context.Context, kind string, id uuid.UUID) (Document, error)
	List(ctx context.Context, f Filter) (Page, error)
	// Search ranks documents of f.Kind by their text against words as typed.
	Search(ctx context.Context, words string, f Filter) ([]Hit, error)
}

// DocumentWriter writes documents inside a Change.
type DocumentWriter interface {
	// Create stores a new document and returns it with version and times. A
	// name already taken answers conflict; a parent that is not there answers
	// validation_failed.
	Create(ctx context.Context, d Document) (Document, error)
	// Update replaces everything but identity. ifVersion > 0 must match, or it
	// answers precondition_failed.
	Update(ctx context.Context, d Document, ifVersion int64) (Document, error)
	// Delete removes a document and what belongs to it.
	Delete(ctx context.Context, kind string, id uuid.UUID, ifVersion int64) error
}
