package postgres

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/canon"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

const (
	pageRows   = 1000 // bounds the memory of bundles and exports: so many records at a time
	pageBlocks = 4    // the same, of blocks that a filter leaves
	candidates = 256  // blocks looked for at a time
)

// span is a range of numbers, both ends included.
type span struct{ low, high int64 }

// selectRows reads the rows that begin in the spans, and with $4 also those that
// only reach into them. The laterals keep the planner from joining whole tables
// for each page.
const selectRows = `SELECT l.seq, l.n, l.at, l.leaf, e.words, COALESCE(e.body, ''), p.salts, p.actor_name, p.ip, p.user_agent
	FROM unnest($2::bigint[], $3::bigint[]) AS r (low, high)
	CROSS JOIN LATERAL (SELECT seq, n, at, event_id, leaf FROM audit_leaves
		WHERE tenant_id = $1 AND seq <= r.high
		  AND seq >= CASE WHEN $4 THEN COALESCE((SELECT max(seq) FROM audit_leaves WHERE tenant_id = $1 AND seq <= r.low), r.low) ELSE r.low END OFFSET 0) l
	LEFT JOIN LATERAL (SELECT words, body FROM audit_events e WHERE e.tenant_id = $1 AND e.at = l.at AND e.id = l.event_id OFFSET 0) e ON true
	LEFT JOIN LATERAL (SELECT * FROM audit_personal p WHERE p.tenant_id = $1 AND p.event_id = l.event_id OFFSET 0) p ON true
	ORDER BY l.seq`

// stored is a row of audit_events as read.
type stored struct {
	seq             int64
	n               int
	at              time.Time
	leaf, words     []byte
	body            string // "": it is gone
	salts           []byte
	name, ip, agent []*string
}

// rows reads the rows of spans, oldest first.
func (l log) rows(ctx context.Context, whole bool, spans []span) (out []*stored, err error) {
	low, high := make([]int64, len(spans)), make([]int64, len(spans))
	for i, s := range spans {
		low[i], high[i] = s.low, s.high
	}
	err = l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
		st := &stored{}
		out = append(out, st)
		return r.Scan(&st.seq, &st.n, &st.at, &st.leaf, &st.words, &st.body, &st.salts, &st.name, &st.ip, &st.agent)
	}), selectRows, l.scope.ID().String(), low, high, whole)
	return out, err
}

// events takes a row apart. What does not fit together is merkle.ErrCorrupt; a
// body that is gone leaves its records without one.
func (st *stored) events() ([]row, error) {
	bodies := make([]string, st.n)
	if st.body != "" {
		if st.n == 1 {
			bodies[0] = st.body
		} else {
			bodies = strings.Split(st.body, "\n")
		}
	}
	if len(bodies) != st.n || len(st.leaf) != 32*st.n {
		return nil, fmt.Errorf("records %d to %d: %d bodies and %d bytes of hashes: %w", st.seq, st.seq+int64(st.n)-1, len(bodies), len(st.leaf), merkle.ErrCorrupt)
	}
	out := make([]row, st.n)
	for i := range out {
		r := &out[i]
		r.seq, r.at, r.body, r.leaf = st.seq+int64(i), st.at, bodies[i], st.leaf[32*i:32*i+32]
		if len(st.salts) == 48*st.n {
			r.salts = st.salts[48*i : 48*i+48]
		}
		r.name, r.ip, r.agent = at(st.name, i), at(st.ip, i), at(st.agent, i)
	}
	return out, nil
}

func at(list []*string, i int) *string {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// sieve is a query's filter.
type sieve struct {
	q       audit.Query
	lists   [][]uint32
	needles []string // each stands in the body of what matches
}

func newSieve(q audit.Query) sieve {
	s := sieve{q: q, lists: wanted(q)}
	values := []string{q.Actor, q.Resource, string(q.Outcome), q.RequestID}
	if len(q.Types) == 1 {
		values = append(values, string(q.Types[0]))
	}
	if len(q.Severity) == 1 {
		values = append(values, string(q.Severity[0]))
	}
	for _, v := range values {
		if needle, err := canon.AppendString(nil, v); err == nil && v != "" {
			s.needles = append(s.needles, string(needle))
		}
	}
	return s
}

// filterable refuses a filter that no event can have: texts in the log are UTF-8
// without NUL.
func filterable(q audit.Query) error {
	for _, v := range append([]string{q.Actor, q.Resource, string(q.Outcome), q.RequestID}, append(texts(q.Types), texts(q.Severity)...)...) {
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			return fault.New(fault.Unprocessable, "a filter is not text")
		}
	}
	return nil
}

func (s *sieve) open() bool { return len(s.lists) == 0 && s.q.From.IsZero() && s.q.To.IsZero() }

// passes matches a record against the filter by its body alone. One whose body
// is gone is for the caller to judge.
func (s *sieve) passes(r *row) (bool, error) {
	if s.open() || r.body == "" {
		return true, nil
	}
	for _, n := range s.needles {
		if !strings.Contains(r.body, n) {
			return false, nil
		}
	}
	e, err := r.entry()
	if err != nil {
		return false, err
	}
	q := &s.q
	return (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) &&
		(len(q.Types) == 0 || slices.Contains(q.Types, e.Type)) && (len(q.Severity) == 0 || slices.Contains(q.Severity, e.Severity)) &&
		(q.Actor == "" || q.Actor == e.Actor.ID) && (q.Resource == "" || q.Resource == e.Resource) &&
		(q.Outcome == "" || q.Outcome == e.Outcome) && (q.RequestID == "" || q.RequestID == e.RequestID), nil
}

// scan gives what q selects among the records after number floor and up to end,
// in q's order, about page at a time; q.Limit is the caller's. A record whose body is gone
// comes without one, whatever the filter.
func (l log) scan(ctx context.Context, q audit.Query, floor, end int64, page int) iter.Seq2[*row, error] {
	s := newSieve(q)
	low, high := max(q.After, floor)+1, end
	if q.Newest {
		low = floor + 1
		if q.After > 0 {
			high = min(end, q.After-1)
		}
	}
	return func(yield func(*row, error) bool) {
		pages := l.plain(q.Newest, low, high, page)
		if !s.open() {
			pages = l.sifted(ctx, &s, low, high)
		}
		for {
			spans, err := pages()
			if err == nil && spans == nil {
				return
			}
			var rows []*stored
			if err == nil {
				rows, err = l.rows(ctx, s.open(), spans)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if s.open() { // rows reach beyond their span
				if !l.give(rows, &s, spans[0].low, spans[0].high, yield) {
					return
				}
			} else if !l.give(rows, &s, low, high, yield) {
				return
			}
		}
	}
}

// give yields the records of rows that lie from low to high and pass.
func (l log) give(rows []*stored, s *sieve, low, high int64, yield func(*row, error) bool) bool {
	if s.q.Newest {
		slices.Reverse(rows)
	}
	for _, st := range rows {
		if st.body != "" && !mayHold(st.words, s.lists) {
			continue
		}
		events, err := st.events()
		if err != nil {
			return yield(nil, err) && false
		}
		for i := range events {
			r := &events[i]
			if s.q.Newest {
				r = &events[len(events)-1-i]
			}
			if r.seq < low || r.seq > high {
				continue
			}
			ok, err := s.passes(r)
			if err != nil {
				return yield(nil, err) && false
			}
			if ok && !yield(r, nil) {
				return false
			}
		}
	}
	return true
}

// plain walks through all numbers, in steps that grow: the first page may be all
// that is asked for.
func (l log) plain(newest bool, low, high int64, page int) func() ([]span, error) {
	step := int64(page)
	return func() ([]span, error) {
		if low > high {
			return nil, nil
		}
		s := span{low, min(high, low+step-1)}
		if newest {
			s = span{max(low, high-step+1), high}
			high = s.low - 1
		} else {
			low = s.high + 1
		}
		step = min(2*step, pageRows)
		return []span{s}, nil
	}
}

const (
	selectBlocks = `(SELECT s.index FROM audit_summaries s WHERE s.tenant_id = $1 AND s.index >= $2 AND s.index <= $3
		  AND ($4::timestamptz IS NULL OR s.last_at >= $4 OR s.last_at IS NULL) AND ($5::timestamptz IS NULL OR s.first_at < $5 OR s.first_at IS NULL)
		  AND ($6::varbit[] IS NULL OR s.words IS NULL OR EXISTS (SELECT 1 FROM unnest($6::varbit[]) m WHERE s.words & m = m))`
	unsummarised = `SELECT b FROM generate_series(GREATEST($2, (SELECT COALESCE(max(index) + 1, 0) FROM audit_summaries WHERE tenant_id = $1)), $3::bigint) b`
	oldestBlocks = selectBlocks + ` ORDER BY s.index LIMIT $7) UNION ALL (` + unsummarised + ` ORDER BY b LIMIT $7) ORDER BY 1 LIMIT $7`
	newestBlocks = selectBlocks + ` ORDER BY s.index DESC LIMIT $7) UNION ALL (` + unsummarised + ` ORDER BY b DESC LIMIT $7) ORDER BY 1 DESC LIMIT $7`
)

// sifted walks through the blocks that may hold what s lets pass. A row belongs
// to the block in which it begins, which may be the one before low's.
func (l log) sifted(ctx context.Context, s *sieve, low, high int64) func() ([]span, error) {
	var found []int64
	from, to := max(0, (low-1)/blockSize-1), (high-1)/blockSize
	take, sql := 1, oldestBlocks
	if s.q.Newest {
		sql = newestBlocks
	}
	m := masks(s.lists)
	return func() ([]span, error) {
		if len(found) == 0 && from <= to && low <= high {
			err := l.s.query(ctx, l.scope, each(func(r pgx.Rows) error {
				var b int64
				err := r.Scan(&b)
				found = append(found, b)
				return err
			}), sql, l.scope.ID().String(), from, to, timeOrNil(s.q.From), timeOrNil(s.q.To), m, candidates)
			if err != nil {
				return nil, err
			}
			switch {
			case len(found) < candidates:
				from = to + 1
			case s.q.Newest:
				to = found[len(found)-1] - 1
			default:
				from = found[len(found)-1] + 1
			}
		}
		if len(found) == 0 {
			return nil, nil
		}
		n := min(take, len(found))
		take = min(2*take, pageBlocks)
		spans := make([]span, n)
		for i, b := range found[:n] {
			spans[i] = span{b*blockSize + 1, b*blockSize + blockSize}
		}
		found = found[n:]
		return spans, nil
	}
}

// ends are the last number whose body is past its retention and gone, and the
// last number given.
func (l log) ends(ctx context.Context) (gone, end int64, err error) {
	err = l.s.query(ctx, l.scope, each(func(r pgx.Rows) error { return r.Scan(&gone, &end) }),
		`SELECT COALESCE((SELECT gone FROM audit_expiry WHERE tenant_id = $1), 0), COALESCE((SELECT seq + n - 1 FROM audit_leaves WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1), 0)`,
		l.scope.ID().String())
	return gone, end, err
}
