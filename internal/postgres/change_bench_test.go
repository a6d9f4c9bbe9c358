package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres/pgtest"
)

// BenchmarkChangeCost is what the log adds to an acknowledged change: the creation
// of a document by Change, and the same statement with its tenant in a transaction
// of two round trips as the same role, in turns. Numbering, tree and signatures
// run beside and are in the CPU.
func BenchmarkChangeCost(b *testing.B) {
	db := pgtest.New(b)
	s := db.OpenSigning(b, firstKey)
	scope := db.Tenant(b, s, "acme")
	r := room(b, s, scope)
	ctx := context.Background()
	tid := scope.ID().String()
	clock := cpuClock(b, db)
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			conns := make([]*pgx.Conn, writers)
			for i := range conns {
				conns[i] = db.Application(b)
			}
			const each = 60
			type way struct {
				name string
				one  func(w int) error
				took []time.Duration
				cpu  time.Duration
			}
			ways := []*way{{name: "plain", one: func(w int) error {
				begin := &pgx.Batch{}
				begin.Queue(`BEGIN`)
				begin.Queue(`SELECT set_config('app.current_tenant_id', $1, true)`, tid)
				begin.Queue(`INSERT INTO documents (tenant_id, id, kind, body, tags, data) VALUES ($1, $2, 'memory', 'a note', '{}', '{}')
					RETURNING id, version, created_at, updated_at`, tid, [16]byte(uuid.Must(uuid.NewV7())))
				if err := conns[w].SendBatch(ctx, begin).Close(); err != nil {
					return err
				}
				_, err := conns[w].Exec(ctx, `COMMIT`)
				return err
			}}, {name: "change", one: func(int) error {
				_, err := r.Change(ctx, usual(), func(tx plane.Tx) error {
					_, err := tx.Documents().Create(ctx, plane.Document{Kind: "memory", ID: uuid.Must(uuid.NewV7()), Text: "a note"})
					return err
				})
				return err
			}}}
			for b.Loop() {
				for _, way := range ways {
					took := make([][]time.Duration, writers)
					used := clock()
					together(writers, func(w int) {
						for range each {
							begun := time.Now()
							if err := way.one(w); err != nil {
								b.Error(err)
								return
							}
							took[w] = append(took[w], time.Since(begun))
						}
					})
					way.cpu += clock() - used
					way.took = append(way.took, slices.Concat(took...)...)
				}
			}
			b.ReportMetric(0, "ns/op")
			n := float64(b.N * writers * each)
			for _, way := range ways {
				slices.Sort(way.took)
				b.ReportMetric(float64(way.took[len(way.took)/2].Microseconds()), "p50_us_"+way.name)
				b.ReportMetric(float64(way.cpu.Microseconds())/n, "cpu_us_"+way.name)
			}
			b.ReportMetric(float64((ways[1].took[len(ways[1].took)/2] - ways[0].took[len(ways[0].took)/2]).Microseconds()), "added_us")
			b.ReportMetric(float64((ways[1].cpu-ways[0].cpu).Microseconds())/n, "added_cpu_us")
		})
	}
}
