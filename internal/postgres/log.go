package postgres

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const maxEntries = 500

// Two texts for two directions: the order is the index's either way.
const (
	selectEntries = `SELECT l.seq, e.body, l.leaf, p.salts, p.actor_name, p.ip, p.user_agent
	FROM audit_leaves l
	JOIN audit_events e ON e.tenant_id = l.tenant_id AND e.at = l.at AND e.id = l.event_id
	LEFT JOIN audit_personal p ON p.tenant_id = l.tenant_id AND p.event_id = l.event_id
	WHERE l.tenant_id = $1
	  AND ($3::timestamptz IS NULL OR l.at >= $3) AND ($4::timestamptz IS NULL OR l.at < $4)
	  AND ($5::text[] IS NULL OR e.type = ANY ($5)) AND ($6::text[] IS NULL OR e.severity = ANY ($6))
	  AND ($7::text IS NULL OR e.actor = $7) AND ($8::text IS NULL OR e.resource = $8)
	  AND ($9::text IS NULL OR e.outcome = $9) AND ($10::text IS NULL OR e.request_id = $10)`
	oldestEntries = selectEntries + ` AND l.seq > $2 ORDER BY l.seq LIMIT $11`
	newestEntries = selectEntries + ` AND ($2::bigint = 0 OR l.seq < $2) ORDER BY l.seq DESC LIMIT $11`
)

type log struct {
	s     *Store
	scope tenant.Scope
}

// Log reads the audit log of one tenant.
func (s *Store) Log(scope tenant.Scope) audit.Reader { return log{s, scope} }

func (l log) Events(ctx context.Context, q audit.Query) ([]audit.Entry, bool, error) {
	if err := l.s.seq.number(ctx, l.scope); err != nil {
		return nil, false, err
	}
	limit := min(max(q.Limit, 1), maxEntries)
	sql := oldestEntries
	if q.Newest {
		sql = newestEntries
	}
	var out []audit.Entry
	err := l.rows(ctx, sql, q, int64(limit)+1, func(r *row) error {
		e, err := r.entry()
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if len(out) > limit {
		return out[:limit], true, nil
	}
	return out, false, nil
}

// row is a numbered event as the tables have it.
type row struct {
	seq             int64
	body            string
	leaf, salts     []byte
	name, ip, agent *string
}

func (l log) rows(ctx context.Context, sql string, q audit.Query, limit int64, take func(*row) error) error {
	return l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
		var v row
		if err := r.Scan(&v.seq, &v.body, &v.leaf, &v.salts, &v.name, &v.ip, &v.agent); err != nil {
			return err
		}
		return take(&v)
	}), sql, l.scope.ID().String(), q.After, timeOrNil(q.From), timeOrNil(q.To), texts(q.Types), texts(q.Severity),
		nullable(q.Actor), nullable(q.Resource), nullable(string(q.Outcome)), nullable(q.RequestID), limit)
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
