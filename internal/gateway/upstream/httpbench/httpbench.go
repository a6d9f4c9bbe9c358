// Package httpbench measures what proxying one request costs: CPU microseconds
// of the server's own process, over TLS 1.3 and HTTP/1.1 keep-alive on 16
// connections, with an echoing upstream on loopback.
//
// The servers take turns in one run, so that whatever else the machine does
// falls on all of them: only the ratios within a run mean anything.
//
// Main is the whole program. The process that calls it starts itself again as
// each server; to compare one more, hand Main a Server:
//
//	httpbench.Main(httpbench.Server{Name: "gateway", Handler: build})
package httpbench

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// Server is one to measure, in a process of its own. Handler builds what a plain
// TLS server serves; upstream is the echo's URL. Serve, instead, is a server
// with a listener of its own: it tells its address to ready and serves until the
// process ends. Header holds what each request carries besides.
type Server struct {
	Name    string
	Handler func(upstream string) (http.Handler, error)
	Serve   func(at Site, ready func(address string)) error
	Header  http.Header

	program string // that serves it; "" is this one
}

// Site is where a server of its own stands: what it proxies to, and the
// certificate that clients expect, as PEM files.
type Site struct{ Upstream, CertFile, KeyFile string }

// Baseline is what the ratios are to.
const Baseline = "reverseproxy"

// Result is one server at one shape.
type Result struct {
	Server  string    `json:"server"`
	Method  string    `json:"method"`
	Bytes   int       `json:"bytes"`
	CPU     float64   `json:"cpu_us"` // per request, median of the rounds
	Rounds  []float64 `json:"rounds_us"`
	Ratio   float64   `json:"ratio"` // to Baseline, median of the rounds' ratios
	Nginx   float64   `json:"ratio_nginx,omitempty"`
	Failed  int       `json:"failed"`
	Skipped string    `json:"skipped,omitempty"`
}

// Shape is what a request is: a POST sends and gets back so many bytes of JSON,
// a GET gets them.
type Shape struct {
	Method string
	Bytes  int
}

var shapes = []Shape{{http.MethodPost, 1 << 10}, {http.MethodPost, 8 << 10}, {http.MethodGet, 1 << 10}, {http.MethodGet, 8 << 10}}

// profileEnv names a file; each server writes its CPU profile to FILE.server and
// its allocations to FILE.server.allocs.
const profileEnv = "OPENCLAW_HTTPBENCH_PROFILE"

const (
	roleEnv  = "OPENCLAW_HTTPBENCH_ROLE"
	connsAll = 16
	runTime  = 110 * time.Second
)

// Main runs the benchmark, or, started again by itself, one of its servers.
func Main(extra ...Server) {
	servers := append(builtin(), extra...)
	if role := os.Getenv(roleEnv); role != "" {
		if err := serveRole(role, servers); err != nil {
			fmt.Fprintln(os.Stderr, "httpbench:", err)
			os.Exit(1)
		}
		return
	}
	rounds := flag.Int("rounds", 7, "rounds; the median counts")
	requests := flag.Int("requests", 2400, "requests in a round")
	asJSON := flag.Bool("json", false, "print JSON")
	only := flag.String("only", "", "one method, GET or POST")
	size := flag.Int("bytes", 0, "one size, 1024 or 8192")
	server := flag.String("server", "", "beside the baseline only servers whose names hold this")
	before := flag.String("before", "", "an earlier build of this program, whose servers take their turns too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	shapes := slices.DeleteFunc(slices.Clone(shapes), func(s Shape) bool {
		return *only != "" && s.Method != *only || *size != 0 && s.Bytes != *size
	})
	servers = slices.DeleteFunc(servers, func(s Server) bool { return s.Name != Baseline && !strings.Contains(s.Name, *server) })
	if *before != "" {
		for _, s := range slices.Clone(servers) {
			if s.program = *before; s.Name != Baseline {
				servers = append(servers, s)
			}
		}
	}
	results, err := Run(ctx, servers, shapes, *rounds, *requests)
	if err != nil {
		fmt.Fprintln(os.Stderr, "httpbench:", err)
		os.Exit(1)
	}
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		_ = enc.Encode(results)
		return
	}
	Print(os.Stdout, results)
}

// Run measures the servers and nginx, where it is installed. When ctx ends, the
// rounds that are done count.
func Run(ctx context.Context, servers []Server, shapes []Shape, rounds, requests int) ([]Result, error) {
	dir, err := os.MkdirTemp("", "httpbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cert, err := writeCert(dir)
	if err != nil {
		return nil, err
	}
	echo, err := startChild("", "echo", "", cert)
	if err != nil {
		return nil, fmt.Errorf("start the echo: %w", err)
	}
	defer echo.stop()

	var at []contender
	skipped := ""
	for _, s := range servers {
		c, err := startChild(s.program, s.Name, "http://"+echo.addr, cert)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		defer c.stop()
		name := s.Name
		if s.program != "" {
			name += " before"
		}
		at = append(at, contender{name, c.addr, c.usage, s.Header})
	}
	n, err := startNginx(dir, echo.addr, cert)
	if err != nil {
		skipped = err.Error()
	} else {
		defer n.stop()
		at = append(at, contender{"nginx", n.addr, n.usage, nil})
	}

	var out []Result
	for _, shape := range shapes {
		rs, err := measure(ctx, at, shape, rounds, requests, cert)
		if err != nil {
			return nil, err
		}
		if skipped != "" {
			rs = append(rs, Result{Server: "nginx", Method: shape.Method, Bytes: shape.Bytes, Skipped: skipped})
		}
		out = append(out, rs...)
	}
	return out, nil
}

// contender is a running server.
type contender struct {
	name, addr string
	usage      func() (time.Duration, error)
	header     http.Header
}

func measure(ctx context.Context, at []contender, shape Shape, rounds, requests int, cert certificate) ([]Result, error) {
	rs := make([]Result, len(at))
	loads := make([]*load, len(at))
	for i, c := range at {
		rs[i] = Result{Server: c.name, Method: shape.Method, Bytes: shape.Bytes}
		l, err := dialLoad(c, shape, cert)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		defer l.close()
		loads[i] = l
		if failed := l.run(requests / 4); failed > requests/40 { // warm
			return nil, fmt.Errorf("%s: %d of %d requests failed while warming up: %w", c.name, failed, requests/4, l.err())
		}
	}
	for range rounds {
		for i, c := range at {
			before, err := c.usage()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			rs[i].Failed += loads[i].run(requests)
			after, err := c.usage()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			rs[i].Rounds = append(rs[i].Rounds, float64((after-before).Nanoseconds())/1e3/float64(requests))
		}
		if ctx.Err() != nil {
			break
		}
	}
	for i := range rs {
		rs[i].CPU = median(rs[i].Rounds)
		rs[i].Ratio = ratio(rs, i, Baseline)
		rs[i].Nginx = ratio(rs, i, "nginx")
	}
	return rs, nil
}

// ratio is the median over rounds of this server's cost to another's in the
// same round.
func ratio(rs []Result, i int, to string) float64 {
	j := slices.IndexFunc(rs, func(r Result) bool { return r.Server == to })
	if j < 0 {
		return 0
	}
	var q []float64
	for k := range rs[i].Rounds {
		if rs[j].Rounds[k] > 0 {
			q = append(q, rs[i].Rounds[k]/rs[j].Rounds[k])
		}
	}
	return median(q)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Print writes the table.
func Print(w io.Writer, rs []Result) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	fmt.Fprintf(b, "%-22s %-6s %7s %12s %9s %9s %7s\n", "server", "method", "bytes", "cpu us/req", "x proxy", "x nginx", "failed")
	for _, r := range rs {
		if r.Skipped != "" {
			fmt.Fprintf(b, "%-22s %-6s %7d skipped: %s\n", r.Server, r.Method, r.Bytes, strings.TrimSpace(r.Skipped))
			continue
		}
		fmt.Fprintf(b, "%-22s %-6s %7d %12.1f %9.2f %9.2f %7d\n", r.Server, r.Method, r.Bytes, r.CPU, r.Ratio, r.Nginx, r.Failed)
	}
}
