package api

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// stored is a resource of which each is one document.
type stored[T packed, V versioned] struct {
	kind  string // of its documents; decisions and events call it the same
	event audit.Type
	read  func(plane.Document) (T, error)
	view  func(T) V
	agent func(plane.Document) uuid.UUID // whose it is
}

type packed interface {
	Document() (plane.Document, error)
}

type versioned interface{ version() int64 }

// Aim names what a change is for, and the version that it is based on.
type Aim struct {
	ID
	IfMatch
}

func (s stored[T, V]) find(ctx context.Context, x *gateway.Exchange, in ID) (plane.Document, error) {
	id, err := in.parse()
	if err != nil {
		return plane.Document{}, err
	}
	d, err := x.Room.Documents().Get(ctx, s.kind, id)
	if err != nil {
		return plane.Document{}, err
	}
	return d, x.Decide(policy.Resource{Kind: s.kind, ID: in.ID, Agent: s.agent(d)})
}

func (s stored[T, V]) viewOf(d plane.Document) (V, error) {
	v, err := s.read(d)
	return s.view(v), err
}

func tagged[V versioned](v V, err error) (*Tagged[V], error) {
	if err != nil {
		return nil, err
	}
	return &Tagged[V]{etag(v.version()), v}, nil
}

func (s stored[T, V]) changed(x *gateway.Exchange, id uuid.UUID, how string) audit.Event {
	ev := x.Event(s.event, s.kind+"/"+id.String())
	ev.Details = map[string]any{"change": how}
	return ev
}

func (s stored[T, V]) show(ctx context.Context, x *gateway.Exchange, in *ID) (*Tagged[V], error) {
	d, err := s.find(ctx, x, *in)
	if err != nil {
		return nil, err
	}
	return tagged(s.viewOf(d))
}

// create stores a new one once per Idempotency-Key.
func (s stored[T, V]) create(ctx context.Context, x *gateway.Exchange, key string, request any, n T) (*Tagged[V], error) {
	doc, err := n.Document()
	if err != nil {
		return nil, err
	}
	ev := s.changed(x, doc.ID, "created")
	return tagged(once(ctx, x, key, request, http.StatusCreated, func(claim func(plane.Tx) error, answer func(plane.Tx, V)) (v V, err error) {
		err = x.Change(ctx, ev, func(tx plane.Tx) error {
			if err := claim(tx); err != nil {
				return err
			}
			d, err := tx.Documents().Create(ctx, doc)
			if err != nil {
				return err
			}
			if v, err = s.viewOf(d); err != nil {
				return err
			}
			answer(tx, v)
			return nil
		})
		return v, err
	}))
}

// update changes one. Without a version from the client, the one just read must
// still hold: two patches must not undo each other unseen.
func (s stored[T, V]) update(ctx context.Context, x *gateway.Exchange, in Aim, edit func(*T)) (*Tagged[V], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	doc, err := s.find(ctx, x, in.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.read(doc)
	if err != nil {
		return nil, err
	}
	edit(&v)
	if doc, err = v.Document(); err != nil {
		return nil, err
	}
	if version == 0 {
		version = doc.Version
	}
	err = x.Change(ctx, s.changed(x, doc.ID, "updated"), func(tx plane.Tx) (err error) {
		doc, err = tx.Documents().Update(ctx, doc, version)
		tx.Detail("version", doc.Version)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tagged(s.viewOf(doc))
}

func (s stored[T, V]) remove(ctx context.Context, x *gateway.Exchange, in *Aim) (*Empty, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	d, err := s.find(ctx, x, in.ID)
	if err != nil {
		return nil, err
	}
	return nil, x.Change(ctx, s.changed(x, d.ID, "deleted"), func(tx plane.Tx) error { return tx.Documents().Delete(ctx, s.kind, d.ID, version) })
}

// set replaces *old where something new was given.
func set[T any](old *T, new *T) {
	if new != nil {
		*old = *new
	}
}
