package postgres_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/verify"
)

// BenchmarkAppend holds durable appends against one INSERT per commit and COPY
// batches in plain PostgreSQL, taking turns within one run so that a loaded
// machine loads both. writers/op is one turn of all writers.
func BenchmarkAppend(b *testing.B) {
	db := pgtest.New(b)
	s := db.OpenSigning(b, firstKey)
	scope := db.Tenant(b, s, "acme")
	r := room(b, s, scope)
	ctx := context.Background()
	if _, err := db.Operator(b).Exec(ctx, `CREATE TABLE plain (id uuid PRIMARY KEY, body text); GRANT INSERT ON plain TO openclaw_app`); err != nil {
		b.Fatal(err)
	}
	body := `{"type":"API_REQUEST","outcome":"success","action":"memories.read","request_id":"0123456789abcdef","v":1,"severity":"INFO"}`
	ev := audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", RequestID: "0123456789abcdef"}
	const each = 20
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			conns := make([]*pgx.Conn, writers)
			for i := range conns {
				conns[i] = db.Application(b)
			}
			turn := func(one func(w int) error) time.Duration {
				begun := time.Now()
				var wg sync.WaitGroup
				for w := range writers {
					wg.Add(1)
					go func() {
						defer wg.Done()
						for range each {
							if err := one(w); err != nil {
								b.Error(err)
								return
							}
						}
					}()
				}
				wg.Wait()
				return time.Since(begun)
			}
			var plain, change, rec time.Duration
			for b.Loop() {
				plain += turn(func(w int) error {
					_, err := conns[w].Exec(ctx, `INSERT INTO plain VALUES ($1, $2)`, uuid.New(), body)
					return err
				})
				change += turn(func(int) error {
					_, err := r.Change(ctx, ev, func(plane.Tx) error { return nil })
					return err
				})
				rec += turn(func(int) error { _, err := r.Record(ctx, ev); return err })
			}
			n := float64(b.N * writers * each)
			b.ReportMetric(n/plain.Seconds(), "plain/s")
			b.ReportMetric(n/change.Seconds(), "change/s")
			b.ReportMetric(n/rec.Seconds(), "record/s")
			b.ReportMetric(change.Seconds()/plain.Seconds(), "x_plain_cost_change")
			b.ReportMetric(plain.Seconds()/rec.Seconds(), "x_plain_rate_record")
		})
	}
	b.Run("bulk", func(b *testing.B) {
		const batch = 5000
		conn := db.Application(b)
		var copied, noted time.Duration
		for b.Loop() {
			rows := make([][]any, batch)
			for i := range rows {
				rows[i] = []any{uuid.New(), body}
			}
			begun := time.Now()
			if _, err := conn.CopyFrom(ctx, pgx.Identifier{"plain"}, []string{"id", "body"}, pgx.CopyFromRows(rows)); err != nil {
				b.Fatal(err)
			}
			copied += time.Since(begun)
			begun = time.Now()
			var wg sync.WaitGroup
			var left atomic.Int64
			left.Store(batch)
			for range 512 { // writers that wait for durability, as requests do
				wg.Add(1)
				go func() {
					defer wg.Done()
					for left.Add(-1) >= 0 {
						if _, err := r.Record(ctx, ev); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			wg.Wait()
			noted += time.Since(begun)
		}
		n := float64(b.N * batch)
		b.ReportMetric(n/copied.Seconds(), "copy/s")
		b.ReportMetric(n/noted.Seconds(), "record/s")
	})
	// How far publication trailed the events' own time during all of the above.
	if _, err := r.Log().Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	var worst, mean float64
	var size int64
	if err := db.Operator(b).QueryRow(ctx, `SELECT max(lag), avg(lag), max(seq) FROM (SELECT l.seq, extract(epoch FROM
			(SELECT c.at FROM audit_checkpoints c WHERE c.tenant_id = l.tenant_id AND c.size >= l.seq ORDER BY c.size LIMIT 1) - l.at)::float8 AS lag
		FROM audit_leaves l WHERE l.tenant_id = $1) t`, scope.ID().String()).Scan(&worst, &mean, &size); err != nil {
		b.Fatal(err)
	}
	b.Logf("publication trailed by %.0f ms on average, %.0f ms at worst, over %d events", mean*1e3, worst*1e3, size)
}

// BenchmarkProve makes and verifies proofs in a log of 1,000,000 events. (The
// tree's arithmetic at 10 M is package merkle's; this has the database in it.)
func BenchmarkProve(b *testing.B) {
	db := pgtest.New(b)
	s := db.OpenSigning(b, firstKey)
	scope := db.Tenant(b, s, "acme")
	r := room(b, s, scope)
	op := db.Operator(b)
	ctx := context.Background()
	const size = 1_000_000
	for _, sql := range []string{
		`INSERT INTO audit_events (tenant_id, id, at, type, severity, actor, resource, outcome, request_id, body, leaf)
		SELECT '` + scope.ID().String() + `', id, at, 'API_REQUEST', 'INFO', '', '', 'success', '', body, sha256('\x00'::bytea || convert_to(body, 'UTF8')) FROM (
			SELECT id, at, '{"action":"memories.read","id":"' || id || '","outcome":"success","severity":"INFO","tenant":"` + scope.ID().String() + `","time":"' ||
				to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","type":"API_REQUEST","v":1}' AS body
			FROM (SELECT gen_random_uuid() AS id, now() AT TIME ZONE 'UTC' AT TIME ZONE 'UTC' + n * interval '1 microsecond' AS at FROM generate_series(1, ` + fmt.Sprint(size) + `) n) x) y`,
		`INSERT INTO audit_leaves SELECT tenant_id, row_number() OVER (ORDER BY at), at, id, leaf FROM audit_events WHERE tenant_id = '` + scope.ID().String() + `'`,
		`INSERT INTO audit_heads (tenant_id, size, watermark, system) SELECT '` + scope.ID().String() + `', ` + fmt.Sprint(size) + `, pg_current_xact_id(), system_identifier FROM pg_control_system()
			ON CONFLICT (tenant_id) DO UPDATE SET size = excluded.size, watermark = excluded.watermark, system = excluded.system`,
		`VACUUM ANALYZE`,
	} {
		if _, err := op.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	begun := time.Now()
	p, err := r.Log().Checkpoint(ctx)
	if err != nil || p.Size != size {
		b.Fatal(p.Size, err)
	}
	b.Logf("integrated and signed %d leaves in %v", size, time.Since(begun).Round(time.Millisecond))
	b.Run("inclusion", func(b *testing.B) {
		for n := int64(0); b.Loop(); n++ {
			if _, err := r.Log().Inclusion(ctx, 1+n*7919%size); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bundle_of_1000", func(b *testing.B) {
		var bytes int64
		for n := int64(0); b.Loop(); n++ {
			w := &counter{}
			from := 1 + n*7919%(size-1000)
			if err := r.Log().Bundle(ctx, w, audit.Range{From: from, To: from + 999}); err != nil {
				b.Fatal(err)
			}
			bytes = w.n
		}
		b.ReportMetric(float64(bytes), "bytes")
	})
	b.Run("export_verified", func(b *testing.B) {
		for b.Loop() {
			pr, pw := io.Pipe()
			w := &counter{w: pw}
			var took time.Duration
			go func() {
				begun := time.Now()
				_, _, err := r.Log().Export(ctx, w, audit.JSONL, audit.Query{})
				took = time.Since(begun)
				_ = pw.CloseWithError(err)
			}()
			rep, err := verify.Verify(pr, verify.Options{Key: p.Key, Checkpoint: p.Checkpoint})
			if err != nil || rep.Wrong != nil {
				b.Fatal(rep, err)
			}
			b.ReportMetric(float64(w.n)/1e6/took.Seconds(), "MB/s")
			b.ReportMetric(size/took.Seconds(), "events/s")
		}
	})
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.w != nil {
		return c.w.Write(p)
	}
	return len(p), nil
}
