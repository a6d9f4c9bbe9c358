package testservers

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Pebble is Let's Encrypt's test authority. It validates over real connections.
type Pebble struct {
	Directory string
	stop      func()
}

// Stop ends it before the test does.
func (p *Pebble) Stop() { p.stop() }

// StartPebble starts an authority whose own API shows the certificate and key in
// the file pair, to which every name is at the loopback and whose certificates
// live for life. It asks at tlsPort whether a name is ours (RFC 8737).
func StartPebble(t testing.TB, pair string, tlsPort int, life time.Duration) *Pebble {
	t.Helper()
	bin := filepath.Join(Build(t, "pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble"), "pebble")
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := probe.Addr().String()
	_ = probe.Close()
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": api, "certificate": pair, "privateKey": pair, "httpPort": 1, "tlsPort": tlsPort,
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": int(life / time.Second)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-config", file, "-dnsserver", resolver(t), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, drained := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Listening on") {
				listening <- struct{}{}
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	p := &Pebble{Directory: "https://" + api + "/dir", stop: sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})}
	t.Cleanup(p.stop)
	select {
	case <-listening:
	case <-drained:
		t.Fatal("pebble ended at once")
	}
	return p
}

// resolver answers every name with the loopback, over TCP, as pebble asks.
func resolver(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up, down := make(chan struct{}), make(chan struct{})
	s := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg)
		a.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 1 IN A 127.0.0.1")
			a.Answer = append(a.Answer, rr)
		}
		_ = w.WriteMsg(a)
	})}
	go func() { defer close(down); _ = s.ActivateAndServe() }()
	<-up
	t.Cleanup(func() { _ = s.Shutdown(); <-down })
	return l.Addr().String()
}
