package app

import (
	"context"
	"fmt"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
)

// upstreams puts the routes of ROUTES_FILE in force and keeps them so; nil
// without a file. A bad file at the start refuses it; later the old routes stay.
func (a *App) upstreams(keys *authn.Keyring) (*upstream.Proxy, error) {
	path := a.Config.RoutesFile
	if path == "" {
		return nil, nil
	}
	classes := func() upstream.Classes { return a.Tiers.Table() }
	table, err := upstream.ReadTable(path, classes())
	if err != nil {
		return nil, fmt.Errorf("ROUTES_FILE: %w", err)
	}
	if len(a.Config.WAFRules) == 0 {
		for _, r := range table.Routes() {
			if r.WAF {
				return nil, fmt.Errorf("ROUTES_FILE: %s:%d: waf: true needs WAF_RULES; as in WAF_RULES=core", path, r.Line)
			}
		}
	}
	p, err := upstream.New(upstream.Config{Issuer: a.Config.URL, Sign: keys.Sign, Logger: a.log})
	if err != nil {
		return nil, err
	}
	p.Load(table)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	first := true // the load that begins the watch says nothing new
	go func() {
		defer close(done)
		err := p.Watch(ctx, path, classes, func(t *upstream.Table, err error) {
			if first && err == nil {
				first = false
				return
			}
			a.routesReloaded(t, err)
		})
		if err != nil {
			a.routesReloaded(nil, err)
		}
	}()
	a.onClose(func() { cancel(); <-done; p.Close() })
	return p, nil
}

func (a *App) routesReloaded(t *upstream.Table, err error) {
	ev := audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Outcome: audit.Success, Reason: "routes_reloaded", Actor: audit.Actor{Kind: audit.ActorSystem}}
	if err != nil {
		ev.Outcome, ev.Reason = audit.Refused, "routes_refused"
		a.log.Error("the new routes are refused, the old ones stay", "error", err)
	} else {
		ev.Details = map[string]any{"digest": t.Digest(), "routes": int64(len(t.Routes()))}
		a.log.Info("new routes are in force", "digest", t.Digest())
	}
	a.note(ev)
}
