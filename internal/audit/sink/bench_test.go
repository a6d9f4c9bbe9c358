package sink_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/syslog"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

const benchBatch = 500

func rate(b *testing.B, n int) {
	b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkSend is one Send of 500 events over TLS on loopback to a receiver
// that takes them unread, beside writing their JSON to nowhere. Both ends share
// the machine.
func BenchmarkSend(b *testing.B) {
	c := sinktest.NewCerts(b)
	batch := items(benchBatch)
	b.Run("baseline-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			enc := json.NewEncoder(io.Discard)
			for i := range batch {
				if err := enc.Encode(batch[i].Entry); err != nil {
					b.Fatal(err)
				}
			}
		}
		rate(b, benchBatch)
	})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c.Server}, MinVersion: tls.VersionTLS12})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}(conn)
		}
	}()
	run := func(name string, open func() (sink.Sender, error)) {
		b.Run(name, func(b *testing.B) {
			s, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := send(b, s, batch, deadline); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, benchBatch)
		})
	}
	for _, f := range []syslog.Format{syslog.CEF, syslog.JSON} {
		run("syslog-"+string(f), func() (sink.Sender, error) {
			return syslog.Open(syslog.Config{Address: l.Addr().String(), TLS: wire.TLS{CAFile: c.CAFile}, Format: f, Facility: 13, Host: "h", App: "openclaw", SDID: "openclaw@32473", MaxMessage: 8192})
		})
	}
	for _, h := range httpSinks(b, c) {
		h.recv.Behave(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			if h.name != "otlp" {
				fmt.Fprint(w, `{"code":0,"ackId":1,"acks":{"1":true}}`)
			}
			return true
		})
		run(h.name, h.open)
	}
}

// BenchmarkDrain is how fast a sink goes through a log: read, filtered, handed
// to a receiver that takes all, cursors saved.
func BenchmarkDrain(b *testing.B) {
	const size = 5000
	w := newWorld(b, "acme")
	w.events("acme", size, func(e *audit.Event) { e.Reason = "bench" })
	b.ResetTimer()
	for n := 0; b.Loop(); n++ {
		r := newReceiver()
		s := spec(fmt.Sprintf("bench-%d", n), r.open)
		s.Batch = benchBatch
		m := sink.NewManager(w.config())
		m.Load([]sink.Spec{s})
		r.await(b, "everything", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.got) >= size })
		m.Stop()
	}
	rate(b, size)
}
