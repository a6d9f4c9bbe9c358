package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/shield"
	"github.com/Nissimmiracles/openclaw/internal/shield/listen"
)

// Addresses are where a running platform answers.
type Addresses struct {
	API     string // https://host:port
	Admin   string // https://host:port of ADMIN_LISTEN, or ""
	Metrics string // http://127.0.0.1:port/metrics, or ""
}

// Serve answers until ctx ends, then lets what began end, for at most Drain.
// ready is called once, when connections are taken.
func (a *App) Serve(ctx context.Context, ready func(Addresses) error) error {
	var addresses Addresses
	var servers []*http.Server
	stop := func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}
	failed := make(chan error, 3)
	quiet := slog.NewLogLogger(a.log.Handler(), slog.LevelDebug) // handshakes of strangers
	base := context.WithoutCancel(ctx)
	serve := func(address string, t *authn.Listener, proxied bool, base context.Context) (string, error) {
		l, err := a.listen(ctx, address, t, proxied)
		if err != nil {
			return "", err
		}
		s := &http.Server{Handler: a.Gateway, ErrorLog: quiet, BaseContext: func(net.Listener) context.Context { return base }}
		l.Harden(s)
		servers = append(servers, s)
		go func() { failed <- s.Serve(l) }()
		return "https://" + localName(l.Addr()), nil
	}
	var err error
	if addresses.API, err = serve(net.JoinHostPort(a.Config.Listen, strconv.Itoa(a.Config.Port)), a.listener, a.Config.ProxyProtocol, base); err != nil {
		return fmt.Errorf("listen on PORT: %w (another openclaw? choose another PORT)", err)
	}
	if a.admin != nil { // operators come straight: a balancer in front of them would be one way in more
		if addresses.Admin, err = serve(a.Config.AdminListen, a.admin, false, gateway.Administration(base)); err != nil {
			stop()
			return fmt.Errorf("listen on ADMIN_LISTEN: %w", err)
		}
	}

	if a.acme != nil { // the challenge is answered by the listener above
		if err := a.acme.Start(base); err != nil {
			stop()
			return err
		}
	}

	var metrics *http.Server
	if a.Config.Monitoring {
		ml, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Config.MetricsPort)))
		if err != nil {
			stop()
			return fmt.Errorf("listen on METRICS_PORT: %w (choose another, 0 picks a free one)", err)
		}
		addresses.Metrics = "http://" + ml.Addr().String() + "/metrics"
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
		metrics = &http.Server{Handler: mux, ErrorLog: quiet, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
		go func() { failed <- metrics.Serve(ml) }()
	}

	if ready != nil {
		if err = ready(addresses); err != nil {
			err = fmt.Errorf("announce: %w", err)
		}
	}
	if err == nil {
		var resting sync.WaitGroup
		serving, rested := context.WithCancel(ctx)
		resting.Go(func() { new(rest).run(serving) })
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
		rested()
		resting.Wait()
	}
	close(a.draining)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), Drain)
	defer cancel()
	var ending sync.WaitGroup
	for _, s := range servers {
		ending.Go(func() {
			if serr := s.Shutdown(end); serr != nil {
				a.log.Warn("requests did not end in time and were cut", "after", Drain)
				_ = s.Close()
			}
		})
	}
	ending.Wait()
	if metrics != nil {
		_ = metrics.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// listen opens one socket behind the shield.
func (a *App) listen(ctx context.Context, address string, t *authn.Listener, proxied bool) (*listen.Listener, error) {
	tcp, err := listen.TCP(ctx, address)
	if err != nil {
		return nil, err
	}
	guard := listen.Guard(open{})
	if a.Shield != nil {
		guard = a.Shield
	}
	l, err := listen.New(tcp, listen.Config{
		Guard: guard, TLS: t.TLSConfig(), Trusted: a.Config.Proxies, ProxyProtocol: proxied, MaxConns: a.Config.MaxConns,
	})
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	if a.Shield != nil {
		a.Shield.Watch(l.Drop)
	}
	return l, nil
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
