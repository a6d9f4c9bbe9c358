package cli_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/Nissimmiracles/openclaw/internal/api"
)

// baseline is the same read without authentication, limits, policy, row-level
// security, inspection and audit: net/http over the same TLS, one query with a
// plain WHERE on a connection the policies do not bind, the same JSON.
// Arguments: database URL, certificate file.
func baseline() {
	pool, err := pgxpool.New(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	http.HandleFunc("GET /v1/memories/{tenant}/{id}", func(w http.ResponseWriter, r *http.Request) {
		var m api.MemoryView
		var id uuid.UUID
		var data []byte
		err := pool.QueryRow(r.Context(), `SELECT id, body, tags, data, version, created_at, updated_at FROM documents WHERE tenant_id = $1 AND id = $2 AND kind = 'memory'`,
			r.PathValue("tenant"), r.PathValue("id")).Scan(&id, &m.Text, &m.Tags, &data, &m.Version, &m.Created, &m.Updated)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		m.ID = id.String()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(m)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("https://localhost:%d\n", l.Addr().(*net.TCPAddr).Port)
	fmt.Fprintln(os.Stderr, http.ServeTLS(l, nil, os.Args[2], os.Args[2]))
	os.Exit(1)
}

// cpu is what a process has used, in seconds (proc(5), fields 14 and 15).
func cpu(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

// BenchmarkAuthenticatedRead reads one memory over keep-alive TLS with 16
// connections, through the whole platform and through the baseline, in turns;
// CPU is the server process's own.
func BenchmarkAuthenticatedRead(b *testing.B) {
	data := dataFolder(b)
	tiers := filepath.Join(b.TempDir(), "tiers.yaml")
	if err := os.WriteFile(tiers, unlimitedTiers(b), 0o644); err != nil {
		b.Fatal(err)
	}
	p := start(b, data, "RATE_LIMIT_TIERS_FILE="+tiers, "DDOS_IP_LIMIT=10000000")
	token := p.login(b, 0)
	var m struct{ ID string }
	if status, err := p.call("POST", "/v1/memories", token, map[string]string{"text": strings.Repeat("a note of one kilobyte. ", 40)}, &m); err != nil || status != 201 {
		b.Fatal(status, err)
	}
	url, err := os.ReadFile(filepath.Join(data, "keys", "database.url"))
	if err != nil {
		b.Fatal(err)
	}
	base := command(b, "x")
	exe := filepath.Join(filepath.Dir(base.Path), "openclaw-baseline")
	base.Path, base.Args = exe, []string{exe, strings.Replace(string(url), "openclaw@", "openclaw_super@", 1), filepath.Join(data, "ca", "server.pem")}
	base.Stderr = os.Stderr
	out, err := base.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := base.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = base.Process.Kill(); _ = base.Wait() })
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	plain := strings.TrimSpace(string(line[:n]))

	tr := p.client.Transport.(*http.Transport).Clone()
	tr.TLSClientConfig = tr.TLSClientConfig.Clone()
	tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
	tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	client := &http.Client{Transport: tr}
	b.Cleanup(tr.CloseIdleConnections)
	run := func(url, token string, each int) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range each {
					req, _ := http.NewRequest("GET", url, nil)
					if token != "" {
						req.Header.Set("Authorization", "Bearer "+token)
					}
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != 200 {
						b.Errorf("%s answered %d", url, resp.StatusCode)
						return
					}
				}
			}()
		}
		wg.Wait()
	}
	ours, theirs := p.URL+"/v1/memories/"+m.ID, plain+"/v1/memories/"+p.Tenants[0].ID+"/"+m.ID
	run(ours, token, 50)
	run(theirs, "", 50)
	var used [2]float64
	var took [2]time.Duration
	const each = 60
	requests := 0
	for b.Loop() {
		c0, t0 := cpu(b, p.cmd.Process.Pid), time.Now()
		run(ours, token, each)
		c1, t1 := cpu(b, p.cmd.Process.Pid), time.Now()
		d0 := cpu(b, base.Process.Pid)
		run(theirs, "", each)
		used[0], took[0] = used[0]+c1-c0, took[0]+t1.Sub(t0)
		used[1], took[1] = used[1]+cpu(b, base.Process.Pid)-d0, took[1]+time.Since(t1)
		requests += 16 * each
	}
	b.ReportMetric(float64(requests)/took[0].Seconds(), "req/s")
	b.ReportMetric(float64(requests)/took[1].Seconds(), "req/s_plain")
	b.ReportMetric(used[0]*1e6/float64(requests), "cpu-µs/req")
	b.ReportMetric(used[1]*1e6/float64(requests), "cpu-µs/req_plain")
	b.ReportMetric(used[0]/used[1], "x_plain")
}
