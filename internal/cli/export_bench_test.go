package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/verify"
)

// fill makes events of a usual size in acme's log, past the platform that runs.
func (p *platform) fill(b *testing.B, data string, n int) {
	b.Helper()
	url, err := os.ReadFile(filepath.Join(data, "keys", "database.url"))
	if err != nil {
		b.Fatal(err)
	}
	a, err := app.OpenAdmin(b.Context(), app.Config{DatabaseURL: app.Secret(url)}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	room, err := a.Identity.Enter(b.Context(), "acme")
	if err != nil {
		b.Fatal(err)
	}
	events := make([]audit.Event, 10_000)
	for made := 0; made < n; made += len(events) {
		for i := range events {
			events[i] = audit.Event{
				Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", Resource: fmt.Sprint("memory/", made+i), RequestID: fmt.Sprint("request-", made+i),
				Actor: audit.Actor{Kind: audit.ActorUser, ID: fmt.Sprint("user-", i%1000), Name: "ada@example.com"}, PolicyHash: strings.Repeat("0f", 16),
				IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Details: map[string]any{"status": 200, "n": i},
			}
		}
		if _, err := room.RecordAll(b.Context(), events[:min(len(events), n-made)]); err != nil {
			b.Fatal(err)
		}
	}
}

// memory gives what a process has resident now and has had at most (proc(5)),
// in bytes; zeros once it is gone.
func memory(pid int) (now, most float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		var kb float64
		switch name, rest, _ := strings.Cut(line, ":"); name {
		case "VmHWM":
			_, _ = fmt.Sscan(rest, &kb)
			most = kb * 1024
		case "VmRSS":
			_, _ = fmt.Sscan(rest, &kb)
			now = kb * 1024
		}
	}
	return now, most
}

// forget has the kernel count a process's most memory from now on.
func forget(b *testing.B, pid int) {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// watched runs a command and gives the most memory it had. (A child's rusage
// would be no less than its parent's, whose memory it has until it executes.)
func watched(b *testing.B, cmd *exec.Cmd) (most float64) {
	b.Helper()
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("%v: %s", err, &text)
			}
			return most
		case <-tick.C:
			_, m := memory(cmd.Process.Pid)
			most = max(most, m)
		}
	}
}

// BenchmarkExport exports a log of EXPORT_EVENTS events (20,000; a million is
// what the figures are of) in each format, from the platform over HTTP and by
// the command, and says how much memory the process that does it had at most.
func BenchmarkExport(b *testing.B) {
	n := 20_000
	if s := os.Getenv("EXPORT_EVENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	data := dataFolder(b)
	tiers := filepath.Join(b.TempDir(), "tiers.yaml")
	if err := os.WriteFile(tiers, unlimitedTiers(b), 0o644); err != nil {
		b.Fatal(err)
	}
	p := start(b, data, "RATE_LIMIT_TIERS_FILE="+tiers, "DDOS_IP_LIMIT=10000000")
	began := time.Now()
	p.fill(b, data, n)
	b.Logf("%d events made in %v", n, time.Since(began).Round(time.Millisecond))
	token := p.login(b, 0)
	client := &http.Client{Transport: p.client.Transport}
	report := func(b *testing.B, bytes int64, took time.Duration, rss float64) {
		b.ReportMetric(float64(bytes)/1e6/took.Seconds(), "MB/s")
		b.ReportMetric(float64(n)/took.Seconds(), "events/s")
		b.ReportMetric(float64(bytes)/1e6, "MB")
		b.ReportMetric(rss/1e6, "MB_peak")
		b.ReportMetric(0, "ns/op")
	}
	for _, query := range []string{"format=jsonl", "format=csv", "format=ocsf", "format=jsonl&actor=user-7"} {
		b.Run("platform/"+query, func(b *testing.B) {
			rest, _ := memory(p.cmd.Process.Pid)
			forget(b, p.cmd.Process.Pid)
			began, size := time.Now(), int64(0)
			for range b.N {
				req, err := http.NewRequestWithContext(context.Background(), "GET", p.URL+"/v1/audit/export?"+query, nil)
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				got, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || got < int64(n/1000)*400 {
					b.Fatal(resp.StatusCode, got, err)
				}
				size += got
			}
			took := time.Since(began) / time.Duration(b.N)
			_, most := memory(p.cmd.Process.Pid)
			report(b, size/int64(b.N), took, most)
			b.ReportMetric((most-rest)/1e6, "MB_more")
		})
	}
	for _, format := range []string{"jsonl", "csv", "ocsf"} {
		b.Run("command/"+format, func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "out")
			var took time.Duration
			var most float64
			var size int64
			for range b.N {
				note := command(b, "audit", "checkpoint", "--tenant", "acme", "-o", out+".note", "--data", data)
				if text, err := note.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, text)
				}
				cmd := command(b, "audit", "export", "--tenant", "acme", "--format", format, "-o", out, "--data", data)
				began := time.Now()
				most = max(most, watched(b, cmd))
				took += time.Since(began)
				st, err := os.Stat(out)
				if err != nil {
					b.Fatal(err)
				}
				size = st.Size()
				if format == "jsonl" {
					verified(b, out)
				}
			}
			report(b, size, took/time.Duration(b.N), most)
		})
	}
}

// verified holds an export against the checkpoint taken before it.
func verified(b *testing.B, file string) {
	b.Helper()
	var out bytes.Buffer
	if code := verify.Main("openclaw-verify", []string{"--key", file + ".note.vkey", "--checkpoint", file + ".note", file}, nil, &out, &out); code != 0 {
		b.Fatalf("exit %d: %s", code, &out)
	}
}
