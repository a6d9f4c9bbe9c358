package postgres

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const maxEntries = 500

type log struct {
	s     *Store
	scope tenant.Scope
}

// Log reads the audit log of one tenant.
func (s *Store) Log(scope tenant.Scope) audit.Reader { return log{s, scope} }

func (l log) Events(ctx context.Context, q audit.Query) ([]audit.Entry, bool, error) {
	if err := filterable(q); err != nil {
		return nil, false, err
	}
	if err := l.s.seq.number(ctx, l.s.pool, l.scope); err != nil {
		return nil, false, err
	}
	limit := min(max(q.Limit, 1), maxEntries)
	gone, end, err := l.ends(ctx)
	if err != nil {
		return nil, false, err
	}
	var out []audit.Entry
	for r, err := range l.scan(ctx, q, gone, end, limit+1) {
		if err != nil {
			return nil, false, broken(err)
		}
		if r.body == "" {
			continue
		}
		if len(out) == limit {
			return out, true, nil
		}
		e, err := r.entry()
		if err != nil {
			return nil, false, err
		}
		out = append(out, e)
	}
	return out, false, nil
}

// row is a numbered event as the tables have it.
type row struct {
	seq             int64
	at              time.Time // of the commit
	body            string    // "": it is gone
	leaf, salts     []byte
	name, ip, agent *string
}

// record is the row as bundles and exports carry it.
func (r *row) record() bundle.Record {
	out := bundle.Record{Seq: r.seq, Body: []byte(r.body)}
	copy(out.Leaf[:], r.leaf)
	var salts [48]byte
	if copy(salts[:], r.salts) == len(salts) {
		out.Personal = record.Disclose(record.SaltsOf(salts), value(r.name), value(r.ip), value(r.agent))
	}
	return out
}

func (r *row) entry() (audit.Entry, error) {
	var b struct {
		ID       uuid.UUID      `json:"id"`
		Time     time.Time      `json:"time"`
		Type     audit.Type     `json:"type"`
		Severity audit.Severity `json:"severity"`
		Outcome  audit.Outcome  `json:"outcome"`
		Actor    struct {
			Kind audit.ActorKind `json:"kind"`
			ID   string          `json:"id"`
		} `json:"actor"`
		Action     string          `json:"action"`
		Resource   string          `json:"resource"`
		Reason     string          `json:"reason"`
		RequestID  string          `json:"request_id"`
		PolicyHash string          `json:"policy_hash"`
		Details    json.RawMessage `json:"details"`
	}
	if err := json.Unmarshal([]byte(r.body), &b); err != nil {
		return audit.Entry{}, fmt.Errorf("audit event %d: its body does not read: %w", r.seq, err)
	}
	return audit.Entry{
		Seq: r.seq, ID: b.ID, Time: b.Time, Type: b.Type, Severity: b.Severity, Outcome: b.Outcome,
		Actor:  audit.EntryActor{Kind: b.Actor.Kind, ID: b.Actor.ID, Name: value(r.name)},
		Action: b.Action, Resource: b.Resource, Reason: b.Reason, RequestID: b.RequestID, PolicyHash: b.PolicyHash,
		Details: b.Details, IP: value(r.ip), UserAgent: value(r.agent), Leaf: base64.RawURLEncoding.EncodeToString(r.leaf),
	}, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func texts[T ~string](ts []T) []string {
	if len(ts) == 0 {
		return nil
	}
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = string(t)
	}
	return out
}
