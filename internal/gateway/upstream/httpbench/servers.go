package httpbench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/quota"
)

func builtin() []Server {
	return []Server{{Name: Baseline, Handler: reverseProxy}, {Name: "upstream", Handler: ours}}
}

// reverseProxy is httputil's, bare, with as many idle connections as it needs.
func reverseProxy(to string) (http.Handler, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { pr.SetURL(u) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}, nil
}

// ours is package upstream alone, assertions included.
func ours(to string) (http.Handler, error) {
	key, err := authn.GenerateSigningKey()
	if err != nil {
		return nil, err
	}
	ring, err := authn.NewKeyring(key)
	if err != nil {
		return nil, err
	}
	p, err := upstream.New(upstream.Config{Issuer: "https://bench.invalid", Sign: ring.Sign})
	if err != nil {
		return nil, err
	}
	t, err := upstream.ParseTable("bench", []byte("version: 1\nroutes:\n  - {match: /, upstream: \""+to+"\", limit: write}\n"), quota.DefaultTable())
	if err != nil {
		return nil, err
	}
	p.Load(t)
	id := upstream.Identity{
		TenantID: "01890a5d-ac96-774b-bcce-b302099a8057", TenantName: "acme", Subject: "01890a5d-ac96-774b-bcce-b302099a8058", Kind: "user",
		Roles: []string{"developer"}, RequestID: "0af7651916cd43dd8448eb211c80319c", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt, err := p.Match(r)
		if err == nil {
			err = p.Serve(w, r, rt, id)
		}
		switch {
		case errors.Is(err, upstream.ErrCut):
			panic(http.ErrAbortHandler)
		case err != nil:
			http.Error(w, "failed", http.StatusBadGateway)
		}
	}), nil
}

// echo answers with what it was sent, and a GET with as much as it asks for.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if n, nerr := strconv.Atoi(r.URL.Query().Get("n")); r.Method == http.MethodGet && nerr == nil && n < 1<<20 {
		body = chat(n)
	}
	if err != nil {
		http.Error(w, "read", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// serveRole is a server's process: it prints its address, answers each line on
// its input with the CPU time it has used, and ends with its input.
func serveRole(role string, servers []Server) error {
	at := Site{os.Getenv("HTTPBENCH_UPSTREAM"), os.Getenv("HTTPBENCH_CERT"), os.Getenv("HTTPBENCH_KEY")}
	if file := os.Getenv(profileEnv); file != "" && role != "echo" {
		f, err := os.Create(file + "." + strings.ReplaceAll(role, " ", "-"))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = f.Close()
			if f, err := os.Create(f.Name() + ".allocs"); err == nil {
				_ = errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
			}
		}()
	}
	ready := func(address string) { fmt.Println(address) }
	failed := make(chan error, 1)
	go func() { failed <- serve(role, servers, at, ready) }()
	asked := make(chan error, 1)
	go func() { asked <- answerUsage() }()
	select {
	case err := <-failed:
		return err
	case err := <-asked:
		return err
	}
}

func serve(role string, servers []Server, at Site, ready func(address string)) error {
	var h http.Handler
	if role == "echo" {
		h = http.HandlerFunc(echo)
	}
	for _, s := range servers {
		if s.Name != role {
			continue
		}
		if s.Serve != nil {
			return s.Serve(at, ready)
		}
		var err error
		if h, err = s.Handler(at.Upstream); err != nil {
			return err
		}
	}
	if h == nil {
		return fmt.Errorf("no server %q", role)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	if role != "echo" {
		cert, err := tls.LoadX509KeyPair(at.CertFile, at.KeyFile)
		if err != nil {
			return err
		}
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
	}
	ready(ln.Addr().String())
	return srv.Serve(ln)
}

// answerUsage returns when nobody asks any more.
func answerUsage() error {
	var one [1]byte
	for {
		if _, err := os.Stdin.Read(one[:]); err != nil {
			return nil
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		fmt.Println(time.Duration(u.Utime.Nano() + u.Stime.Nano()).Nanoseconds())
	}
}

// nginxConf is Debian's nginx as a plain proxy with kept connections.
func nginxConf(dir, listen, to string, c certificate) string {
	return strings.NewReplacer("DIR", dir, "LISTEN", listen, "TO", to, "CERT", c.certFile, "KEY", c.keyFile).Replace(`
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  keepalive_requests 100000000;
  client_body_buffer_size 64k;
  upstream echo { server TO; keepalive 64; keepalive_requests 100000000; }
  server {
    listen LISTEN ssl;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    ssl_protocols TLSv1.3;
    location / {
      proxy_pass http://echo;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffers 8 16k;
      proxy_buffer_size 16k;
    }
  }
}
`)
}
