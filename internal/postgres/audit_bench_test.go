package postgres_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/verify"
)

// usual is an event as a request makes it; its body has some 560 bytes.
func usual() audit.Event {
	return audit.Event{
		Type: audit.MemoryChanged, Outcome: audit.Success, Action: "memories.create", Resource: "memory/" + uuid.NewString(),
		Actor: audit.Actor{Kind: audit.ActorUser, ID: "0192e4a0-7d3c-7000-8000-000000000002", Name: "ann@acme.example"},
		IP:    netip.MustParseAddr("203.0.113.9"), UserAgent: "curl/8.5.0", RequestID: uuid.NewString(), Details: map[string]any{"version": 3},
	}
}

// BenchmarkAppend holds durable appends of whole events against one INSERT of a
// body per commit, and COPY batches of bodies, in plain PostgreSQL, taking turns
// within one run so that a loaded machine loads both.
func BenchmarkAppend(b *testing.B) {
	db := pgtest.New(b)
	s := db.OpenSigning(b, firstKey)
	scope := db.Tenant(b, s, "acme")
	r := room(b, s, scope)
	ctx := context.Background()
	if _, err := db.Operator(b).Exec(ctx, `CREATE TABLE plain (id uuid PRIMARY KEY, body text); GRANT INSERT ON plain TO openclaw_app`); err != nil {
		b.Fatal(err)
	}
	sealed, err := record.Seal(scope.ID().String(), usual(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	body := string(sealed.Body)
	clock := cpuClock(b, db)
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			each := max(400/writers, 25)
			conns := make([]*pgx.Conn, writers)
			for i := range conns {
				conns[i] = db.Application(b)
			}
			ways := []struct {
				name string
				took time.Duration
				cpu  time.Duration
				one  func(w int) error
			}{
				{"plain", 0, 0, func(w int) error {
					_, err := conns[w].Exec(ctx, `INSERT INTO plain VALUES ($1, $2)`, [16]byte(uuid.New()), body)
					return err
				}},
				{"change", 0, 0, func(int) error {
					_, err := r.Change(ctx, usual(), func(plane.Tx) error { return nil })
					return err
				}},
				{"record", 0, 0, func(int) error { _, err := r.Record(ctx, usual()); return err }},
				{"act", 0, 0, func(int) error {
					_, err := r.Act(ctx, usual(), func(context.Context) (audit.Outcome, map[string]any, error) { return "", nil, nil })
					return err
				}},
			}
			for b.Loop() {
				for i := range ways {
					way := &ways[i]
					begun, used := time.Now(), clock()
					together(writers, func(w int) {
						for range each {
							if err := way.one(w); err != nil {
								b.Error(err)
								return
							}
						}
					})
					way.took += time.Since(begun)
					way.cpu += clock() - used
				}
			}
			b.ReportMetric(0, "ns/op")
			n := float64(b.N * writers * each)
			for _, way := range ways {
				b.ReportMetric(n/way.took.Seconds(), way.name+"/s")
				b.ReportMetric(float64(way.cpu.Microseconds())/n, "cpu_us_"+way.name)
				if way.name != "plain" {
					b.ReportMetric(ways[0].took.Seconds()/way.took.Seconds(), "x_rate_"+way.name)
				}
			}
		})
	}
	b.Run("bulk", func(b *testing.B) {
		const batch = 40 * 1024
		conns := []*pgx.Conn{db.Application(b), db.Application(b)}
		var copied, bulk, waiting, cpuCopied, cpuBulk, cpuWaiting time.Duration
		for b.Loop() {
			rows := make([][]any, batch/len(conns))
			for i := range rows {
				rows[i] = []any{[16]byte(uuid.New()), body}
			}
			begun, used := time.Now(), clock()
			together(len(conns), func(w int) {
				mine := make([][]any, len(rows))
				for i := range mine {
					mine[i] = []any{[16]byte(uuid.New()), body}
				}
				if _, err := conns[w].CopyFrom(ctx, pgx.Identifier{"plain"}, []string{"id", "body"}, pgx.CopyFromRows(mine)); err != nil {
					b.Error(err)
				}
			})
			copied += time.Since(begun)
			cpuCopied += clock() - used
			events := make([]audit.Event, batch)
			for i := range events {
				events[i] = usual()
			}
			begun, used = time.Now(), clock()
			if _, err := r.RecordAll(ctx, events); err != nil {
				b.Fatal(err)
			}
			bulk += time.Since(begun)
			cpuBulk += clock() - used
			begun, used = time.Now(), clock()
			var left atomic.Int64
			left.Store(batch)
			together(512, func(int) { // writers that wait for durability, as requests do
				for n := left.Add(-1); n >= 0; n = left.Add(-1) {
					if _, err := r.Record(ctx, events[n]); err != nil {
						b.Error(err)
						return
					}
				}
			})
			waiting += time.Since(begun)
			cpuWaiting += clock() - used
		}
		n := float64(b.N * batch)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(n/copied.Seconds(), "copy/s")
		b.ReportMetric(n/bulk.Seconds(), "bulk/s")
		b.ReportMetric(n/waiting.Seconds(), "512_writers/s")
		b.ReportMetric(float64(cpuCopied.Nanoseconds())/1e3/n, "cpu_us_copy")
		b.ReportMetric(float64(cpuBulk.Nanoseconds())/1e3/n, "cpu_us_bulk")
		b.ReportMetric(float64(cpuWaiting.Nanoseconds())/1e3/n, "cpu_us_512_writers")
	})
	// How far publication trailed the commits during all of the above.
	if _, err := r.Log().Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	var worst, mean float64
	var size int64
	if err := db.Operator(b).QueryRow(ctx, `SELECT max(lag), avg(lag), max(high) FROM (SELECT l.seq + l.n - 1 AS high, extract(epoch FROM
			(SELECT c.at FROM audit_checkpoints c WHERE c.tenant_id = l.tenant_id AND c.size >= l.seq ORDER BY c.size LIMIT 1) - l.at)::float8 AS lag
		FROM audit_leaves l WHERE l.tenant_id = $1) t`, scope.ID().String()).Scan(&worst, &mean, &size); err != nil {
		b.Fatal(err)
	}
	b.Logf("publication trailed by %.0f ms on average, %.0f ms at worst, over %d events", mean*1e3, worst*1e3, size)
}

// cpuClock tells how long this process and the database's have run so far, which
// other work on the machine hardly touches. Without /proc it stands still.
func cpuClock(b *testing.B, db pgtest.DB) func() time.Duration {
	op := db.Operator(b)
	gone := map[string]int64{}
	return func() time.Duration {
		rows, err := op.Query(context.Background(), `SELECT pid::text FROM pg_stat_activity`)
		if err != nil {
			b.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			b.Fatal(err)
		}
		for _, pid := range append(pids, "self") {
			if pid == "self" {
				var u syscall.Rusage
				_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
				gone[pid] = u.Utime.Nano() + u.Stime.Nano()
				continue
			}
			text, _ := os.ReadFile("/proc/" + pid + "/schedstat")
			var ns int64
			_, _ = fmt.Sscan(string(text), &ns)
			gone[pid] = max(gone[pid], ns)
		}
		total := int64(0)
		for _, ns := range gone {
			total += ns
		}
		return time.Duration(total)
	}
}

// BenchmarkProve lists, makes and verifies proofs in a log of 10,000,000 events.
// OPENCLAW_BENCH_EVENTS asks for another size.
func BenchmarkProve(b *testing.B) {
	db := pgtest.New(b)
	s := db.OpenSigning(b, firstKey)
	scope := db.Tenant(b, s, "acme")
	r := room(b, s, scope)
	ctx := context.Background()
	size := 10_000_000
	if text := os.Getenv("OPENCLAW_BENCH_EVENTS"); text != "" {
		size, _ = strconv.Atoi(text)
	}
	begun := time.Now()
	for done := 0; done < size; {
		events := make([]audit.Event, min(50*1024, size-done))
		for i := range events {
			events[i] = usual()
			events[i].Actor.ID = fmt.Sprint("user-", (done+i)%1000)
		}
		if done <= size/3 && size/3 < done+len(events) {
			events[size/3-done].Type, events[size/3-done].RequestID = audit.KeyDestroyed, "the-one"
		}
		if _, err := r.RecordAll(ctx, events); err != nil {
			b.Fatal(err)
		}
		done += len(events)
	}
	written := time.Since(begun)
	p, err := r.Log().Checkpoint(ctx)
	if err != nil || p.Size != int64(size) {
		b.Fatal(p.Size, err)
	}
	b.Logf("%d events written in %v and signed for %v later", size, written.Round(time.Millisecond), (time.Since(begun) - written).Round(time.Millisecond))
	op := db.Operator(b)
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var n int
		if err := op.QueryRow(ctx, `SELECT count(*) FROM audit_summaries`).Scan(&n); err != nil || time.Now().After(end) {
			b.Fatal(n, err)
		}
		if n >= (size-1)/256-1 { // the last row may begin in the block before the last
			break
		}
	}
	for _, sql := range []string{`CHECKPOINT`, `VACUUM ANALYZE`} {
		if _, err := op.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	var bytes int64
	if err := op.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&bytes); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes an event on disk", bytes/int64(size))
	b.Run("inclusion", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			in, err := r.Log().Inclusion(ctx, int64(1+n*7919_7919%size))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(32*len(in.Proof)), "bytes")
		}
	})
	b.Run("inclusion_cold", func(b *testing.B) { // no tile in this process; pages as the machine has them
		for n := 0; b.Loop(); n++ {
			s.ForgetTiles(scope.ID())
			if _, err := r.Log().Inclusion(ctx, int64(1+n*7919_7919%size)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("consistency", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, err := r.Log().Consistency(ctx, int64(1+n*7919_7919%size), int64(size)); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, q := range map[string]audit.Query{
		"newest_50": {Newest: true, Limit: 50}, "rare_type": {Newest: true, Limit: 50, Types: []audit.Type{audit.KeyDestroyed}},
		"rare_request": {Limit: 50, RequestID: "the-one"}, "actor": {Newest: true, Limit: 50, Actor: "user-77"}, "nothing": {RequestID: "no such", Limit: 50},
		"a_millisecond": {Newest: true, Limit: 50, From: begun.Add(written / 2), To: begun.Add(written/2 + time.Millisecond)},
	} {
		b.Run("list/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := r.Log().Events(ctx, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bundle_of_1000", func(b *testing.B) {
		var bytes int64
		for n := 0; b.Loop(); n++ {
			w := &counter{}
			from := int64(1 + n*7919_7919%(size-1000))
			if err := r.Log().Bundle(ctx, w, audit.Range{From: from, To: from + 999}); err != nil {
				b.Fatal(err)
			}
			bytes = w.n
		}
		b.ReportMetric(float64(bytes), "bytes")
	})
	export := func(b *testing.B, to io.Writer) {
		w := &counter{w: to}
		begun := time.Now()
		n, _, err := r.Log().Export(ctx, w, audit.JSONL, audit.Query{})
		took := time.Since(begun)
		if err != nil || n != int64(size) {
			b.Error(n, err)
		}
		b.ReportMetric(float64(w.n)/1e6/took.Seconds(), "MB/s")
		b.ReportMetric(float64(size)/took.Seconds(), "events/s")
	}
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			export(b, nil)
		}
	})
	b.Run("export_verified", func(b *testing.B) {
		for b.Loop() {
			pr, pw := io.Pipe()
			go func() {
				export(b, pw)
				_ = pw.Close()
			}()
			rep, err := verify.Verify(pr, verify.Options{Key: p.Key, Checkpoint: p.Checkpoint})
			if err != nil || rep.Wrong != nil {
				b.Fatal(rep, err)
			}
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
