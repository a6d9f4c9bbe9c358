package listen

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// TestVisitor is no test: BenchmarkConnect runs it in a process of its own, so
// that the client's work is not counted as the server's.
func TestVisitor(t *testing.T) {
	addr := os.Getenv("SHIELD_VISIT")
	if addr == "" {
		t.Skip("only with SHIELD_VISIT")
	}
	n, _ := strconv.Atoi(os.Getenv("SHIELD_VISITS"))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attacker)}}
	for range n {
		c, err := d.Dial("tcp4", addr)
		if err != nil {
			continue // reset before connect returned
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// BenchmarkConnect compares what a connection costs the server: a blocked one
// that is dropped at accept, and one that may shake hands.
func BenchmarkConnect(b *testing.B) {
	if os.Getenv("SHIELD_VISIT") != "" {
		b.Skip("inside the visitor")
	}
	const visits = 2000
	costs := map[bool]float64{}
	for _, blocked := range []bool{false, true} {
		name := map[bool]string{true: "blocked", false: "handshake"}[blocked]
		b.Run(name, func(b *testing.B) {
			h := open(b, build{shield: shield.Config{Connects: 1 << 30, SiteFactor: 1, Points: shield.Points{shield.RapidReset: 100}}})
			if blocked {
				if _, err := h.shield.Block(b.Context(), netip.MustParsePrefix(attacker+"/32"), time.Hour, "abuse", "dana"); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				cmd := exec.Command(os.Args[0], "-test.run=^TestVisitor$", "-test.count=1")
				cmd.Env = append(os.Environ(), "SHIELD_VISIT="+h.addr, "SHIELD_VISITS="+strconv.Itoa(visits))
				before := spent(b)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				costs[blocked] = float64(spent(b)-before) / visits
			}
			c := h.listen.Counters()
			if blocked && c.Dropped < visits || !blocked && c.Dropped > 0 {
				b.Fatalf("%+v", c)
			}
			b.ReportMetric(costs[blocked]/1000, "cpu-µs/conn")
			if blocked {
				b.ReportMetric(costs[false]/costs[true], "x-cheaper")
			}
		})
	}
}

// spent is this process's CPU time, in both modes.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
