package redis

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
	"github.com/Nissimmiracles/openclaw/internal/quota/quotatest"
	"github.com/Nissimmiracles/openclaw/internal/redis/redistest"
)

// cpu is this process's CPU time: Redis's own is not in it.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTake: wall time and client CPU of one decision (three windows and a
// cap), one after the other and pipelined, with and without leasing.
func BenchmarkTake(b *testing.B) {
	s := redistest.Start(b)
	table := quota.DefaultTable()
	class, _ := table.Class("read")
	dedicated, _ := table.Plan("dedicated", class)
	windows, _ := dedicated.Split()
	ctx := context.Background()
	for _, c := range []struct {
		name string
		plan *quota.Plan
		cfg  LimiterConfig
	}{
		{"windows", windows, LimiterConfig{}},
		{"windows and slot", dedicated, LimiterConfig{}},
		{"windows and slot, lease 100", dedicated, LimiterConfig{Lease: 100}},
	} {
		l := NewLimiter(open(b, s, Config{}), c.cfg)
		one := func(b *testing.B, k quota.Key) {
			d, err := l.Take(ctx, quota.Ask{Key: k, Plan: c.plan})
			if err != nil {
				b.Error(err)
			}
			d.Slot.Release()
		}
		report := func(b *testing.B, before time.Duration) {
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		}
		b.Run(c.name+"/single", func(b *testing.B) {
			b.ReportAllocs()
			k, before := quotatest.Tenant(b), cpu()
			for b.Loop() {
				one(b, k)
			}
			report(b, before)
		})
		b.Run(c.name+"/pipelined", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(128)
			k, before := quotatest.Tenant(b), cpu()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one(b, k)
				}
			})
			report(b, before)
		})
	}
}
