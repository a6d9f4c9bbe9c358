package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/listen"
)

// Addresses are where a running platform answers.
type Addresses struct {
	API     string // https://host:port
	Metrics string // http://127.0.0.1:port/metrics, or ""
}

// Serve answers until ctx ends, then lets what began end, for at most Drain.
// ready is called once, when connections are taken.
func (a *App) Serve(ctx context.Context, ready func(Addresses) error) error {
	tcp, err := listen.TCP(ctx, net.JoinHostPort(a.Config.Listen, strconv.Itoa(a.Config.Port)))
	if err != nil {
		return fmt.Errorf("listen on PORT: %w (another openclaw? choose another PORT)", err)
	}
	guard := listen.Guard(open{})
	if a.Shield != nil {
		guard = a.Shield
	}
	l, err := listen.New(tcp, listen.Config{
		Guard: guard, TLS: a.listener.TLSConfig(), Trusted: a.Config.Proxies, ProxyProtocol: a.Config.ProxyProtocol, MaxConns: a.Config.MaxConns,
	})
	if err != nil {
		_ = tcp.Close()
		return err
	}
	if a.Shield != nil {
		a.Shield.Watch(l.Drop)
	}
	quiet := slog.NewLogLogger(a.log.Handler(), slog.LevelDebug) // handshakes of strangers
	server := &http.Server{Handler: a.Gateway, ErrorLog: quiet, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	l.Harden(server)

	addresses := Addresses{API: "https://" + localName(tcp.Addr())}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(l) }()

	if a.acme != nil { // the challenge is answered by the listener above
		if err := a.acme.Start(context.WithoutCancel(ctx)); err != nil {
			_ = server.Close()
			return err
		}
	}

	var metrics *http.Server
	if a.Config.Monitoring {
		ml, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Config.MetricsPort)))
		if err != nil {
			_ = server.Close()
			return fmt.Errorf("listen on METRICS_PORT: %w (choose another, 0 picks a free one)", err)
		}
		addresses.Metrics = "http://" + ml.Addr().String() + "/metrics"
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
		metrics = &http.Server{Handler: mux, ErrorLog: quiet, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
		go func() { failed <- metrics.Serve(ml) }()
	}

	// Reading policies, word lists and weights left a heap three times the
	// size of what stays.
	debug.FreeOSMemory()
	if ready != nil {
		if err = ready(addresses); err != nil {
			err = fmt.Errorf("announce: %w", err)
		}
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	close(a.draining)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), Drain)
	defer cancel()
	if serr := server.Shutdown(end); serr != nil {
		a.log.Warn("requests did not end in time and were cut", "after", Drain)
		_ = server.Close()
	}
	if metrics != nil {
		_ = metrics.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// localName names an address so that the certificate fits.
func localName(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// open is the guard of a platform whose shield is switched off: everybody may
// connect. Caps and deadlines of the listener hold all the same.
type open struct{}

func (open) Admit(netip.Addr) bool                  { return true }
func (open) Report(netip.Addr, shield.Offence) bool { return false }
