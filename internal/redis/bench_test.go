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

// roomy admits all that a benchmark can ask: what is measured are admissions.
const roomy = `
version: 1
classes: [read]
tiers:
  roomy:
    tenant: {per_minute: 6000000, per_hour: 360000000, per_day: 8640000000, burst: 100, concurrent: 10000}
    user: unlimited
    classes: {read: shared}
    sandbox: {cpu_cores: 1, memory_mb: 512, timeout: 5m, network_mbps: 10, disk_mb: 1024}
`

// BenchmarkTake: wall time and client CPU of one decision (three windows and a
// cap), one after the other and pipelined, with and without leasing.
func BenchmarkTake(b *testing.B) {
	s := redistest.Start(b)
	table, err := quota.ParseTable([]byte(roomy))
	if err != nil {
		b.Fatal(err)
	}
	class, _ := table.Class("read")
	whole, _ := table.Plan("roomy", class)
	windows, _ := whole.Split()
	ctx := context.Background()
	b.Run("PING/single", func(b *testing.B) {
		conn := *open(b, s, Config{}).conn.Load()
		b.ReportAllocs()
		before := cpu()
		for b.Loop() {
			if err := conn.Do(ctx, conn.B().Ping().Build()).Error(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	})
	b.Run("PING/pipelined", func(b *testing.B) {
		conn := *open(b, s, Config{}).conn.Load()
		b.ReportAllocs()
		b.SetParallelism(128)
		before := cpu()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := conn.Do(ctx, conn.B().Ping().Build()).Error(); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	})
	for _, c := range []struct {
		name string
		plan *quota.Plan
		cfg  LimiterConfig
	}{
		{"windows", windows, LimiterConfig{}},
		{"windows and slot", whole, LimiterConfig{}},
		{"windows and slot, lease 100", whole, LimiterConfig{Lease: 100}},
	} {
		l := NewLimiter(open(b, s, Config{}), c.cfg)
		one := func(b *testing.B, k quota.Key) {
			d, err := l.Take(ctx, quota.Ask{Key: k, Plan: c.plan})
			if err != nil {
				b.Error(err)
			}
			if !d.Allowed() {
				b.Errorf("refused by %s", d.Policy.Name)
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
