package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// BenchmarkIsolationCost reads one row of 1,000,000 over 1,000 tenants: through
// the policy, tenant and query in one round trip as the application's role; and
// with a plain WHERE tenant_id over the same index as a role the policy does
// not touch. The two take turns, so x_plain is a ratio within one run.
func BenchmarkIsolationCost(b *testing.B) {
	const tenants, rows = 1000, 1000
	db := pgtest.New(b)
	s := db.Open(b)
	op := db.Operator(b)
	ctx := context.Background()
	for _, sql := range []string{
		`INSERT INTO tenants (id, name, tier) SELECT ('00000000-0000-4000-9000-' || lpad(to_hex(t), 12, '0'))::uuid, 't' || t || 'x', 'standard' FROM generate_series(1, 1000) t`,
		`INSERT INTO documents (tenant_id, id, kind, body, data)
			SELECT ('00000000-0000-4000-9000-' || lpad(to_hex(t), 12, '0'))::uuid, ('00000000-0000-4000-a000-' || lpad(to_hex(t * 1000 + r), 12, '0'))::uuid, 'memory', 'the note number ' || r, '{}'
			FROM generate_series(1, 1000) t, generate_series(1, 1000) r`,
		`VACUUM ANALYZE documents`,
	} {
		if _, err := op.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	scope, err := tenant.NewDoor(s).Admit(ctx, tenant.ID(uuid.MustParse("00000000-0000-4000-9000-0000000001f4")))
	if err != nil {
		b.Fatal(err)
	}
	docs := s.Documents(scope)
	id := func(i int) uuid.UUID {
		n := 500*1000 + 1 + i%rows
		return uuid.UUID{0, 0, 0, 0, 0, 0, 0x40, 0, 0xa0, 0, 0, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}
	}
	const columns = `id, kind, COALESCE(parent, '00000000-0000-0000-0000-000000000000'), COALESCE(name, ''), body, tags, data, version, created_at, updated_at`
	// The same work on the client: a pool, and documents to keep.
	scan := func(r pgx.Rows) (err error) {
		var docs []plane.Document
		for r.Next() {
			var d plane.Document
			var data []byte
			err = errors.Join(err, r.Scan((*[16]byte)(&d.ID), &d.Kind, (*[16]byte)(&d.Parent), &d.Name, &d.Text, &d.Tags, &data, &d.Version, &d.Created, &d.Updated))
			d.Data = data
			docs = append(docs, d)
		}
		if len(docs) == 0 {
			err = errors.Join(err, errors.New("no rows"))
		}
		return errors.Join(err, r.Err())
	}
	pool, err := pgxpool.New(ctx, db.SuperURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	plain := func(sql string, args ...any) error {
		rows, err := pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		return scan(rows)
	}
	tid := scope.ID().String()
	for _, shape := range []struct {
		name           string
		through, plain func(i int) error
	}{
		{"one_row", func(i int) error {
			_, err := docs.Get(ctx, "memory", id(i))
			return err
		}, func(i int) error {
			return plain(`SELECT `+columns+` FROM documents WHERE tenant_id = $1 AND id = $2 AND kind = $3`, tid, [16]byte(id(i)), "memory")
		}},
		{"twenty_rows", func(int) error {
			_, err := docs.List(ctx, plane.Filter{Kind: "memory", Limit: 20})
			return err
		}, func(int) error {
			return plain(`SELECT `+columns+` FROM documents WHERE tenant_id = $1 AND kind = $2
				AND ($3::uuid IS NULL OR parent = $3) AND ($4::text IS NULL OR tags @> ARRAY[$4::text])
				AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid))
				ORDER BY created_at DESC, id DESC LIMIT $7`, tid, "memory", nil, nil, nil, nil, 21)
		}},
	} {
		b.Run(shape.name, func(b *testing.B) {
			const turn = 50
			var took [2]time.Duration
			for n := 0; b.Loop(); n++ {
				for which, read := range []func(int) error{shape.through, shape.plain} {
					begun := time.Now()
					for i := range turn {
						if err := read(n*turn + i); err != nil {
							b.Fatal(err)
						}
					}
					took[which] += time.Since(begun)
				}
			}
			b.ReportMetric(float64(took[0].Microseconds())/float64(b.N*turn), "µs/rls_read")
			b.ReportMetric(float64(took[1].Microseconds())/float64(b.N*turn), "µs/plain_read")
			b.ReportMetric(float64(took[0])/float64(took[1]), "x_plain")
		})
	}
}

// BenchmarkRecord measures appends with durable commits: through Change and
// Record, alone and with many writers, beside one INSERT per commit.
func BenchmarkRecord(b *testing.B) {
	db := pgtest.New(b)
	s := db.Open(b)
	scope := db.Tenant(b, s, "acme")
	ctx := context.Background()
	ev := audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", RequestID: "0123456789abcdef"}
	op := db.Operator(b)
	if _, err := op.Exec(ctx, `CREATE TABLE plain (id uuid PRIMARY KEY, body text); GRANT INSERT ON plain TO openclaw_app`); err != nil {
		b.Fatal(err)
	}
	body := `{"type":"API_REQUEST","outcome":"success","action":"memories.read","request_id":"0123456789abcdef","v":1,"severity":"INFO"}`
	conn := func() *pgx.Conn { return db.Application(b) }
	b.Run("plain_insert_1", func(b *testing.B) {
		c := conn()
		for b.Loop() {
			if _, err := c.Exec(ctx, `INSERT INTO plain VALUES ($1, $2)`, uuid.New(), body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("record_1", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Record(ctx, scope, ev); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("change_1", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Change(ctx, scope, ev, func(plane.Tx) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("record_64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Record(ctx, scope, ev); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("change_16", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Change(ctx, scope, ev, func(plane.Tx) error { return nil }); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
