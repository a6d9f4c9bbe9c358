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
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const maxEntries = 500

// Two texts for two directions: the order is the index's either way.
const (
	selectEntries = `SELECT l.seq, e.body, e.leaf, p.actor_name, p.ip, p.user_agent
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
	err := l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
		e, err := scanEntry(r)
		out = append(out, e)
		return err
	}), sql, l.scope.ID().String(), q.After, timeOrNil(q.From), timeOrNil(q.To), texts(q.Types), texts(q.Severity),
		nullable(q.Actor), nullable(q.Resource), nullable(string(q.Outcome)), nullable(q.RequestID), limit+1)
	if err != nil {
		return nil, false, err
	}
	if len(out) > limit {
		return out[:limit], true, nil
	}
	return out, false, nil
}

func scanEntry(r pgx.Rows) (audit.Entry, error) {
	var (
		seq             int64
		body            string
		leaf            []byte
		name, ip, agent *string
	)
	if err := r.Scan(&seq, &body, &leaf, &name, &ip, &agent); err != nil {
		return audit.Entry{}, err
	}
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
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		return audit.Entry{}, fmt.Errorf("audit event %d: its body does not read: %w", seq, err)
	}
	return audit.Entry{
		Seq: seq, ID: b.ID, Time: b.Time, Type: b.Type, Severity: b.Severity, Outcome: b.Outcome,
		Actor:  audit.EntryActor{Kind: b.Actor.Kind, ID: b.Actor.ID, Name: value(name)},
		Action: b.Action, Resource: b.Resource, Reason: b.Reason, RequestID: b.RequestID, PolicyHash: b.PolicyHash,
		Details: b.Details, IP: value(ip), UserAgent: value(agent), Leaf: base64.RawURLEncoding.EncodeToString(leaf),
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
