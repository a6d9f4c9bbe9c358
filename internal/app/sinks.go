package app

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/file"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

// startSinks puts the sinks of AUDIT_SINKS_FILE to work and keeps to the file.
// A bad file at the start refuses it; later the old sinks stay. What is in force
// is in the platform's log before anything leaves by it.
func (a *App) startSinks(ctx context.Context, door *tenant.Door, rooms *plane.Plane) error {
	path := a.Config.AuditSinks
	if path == "" {
		return nil
	}
	about := file.About{URL: a.Config.URL, Version: a.Config.Version}
	if u, err := url.Parse(a.Config.URL); err == nil {
		about.Host = u.Hostname()
	}
	table, err := file.Read(path, about)
	if err != nil {
		return fmt.Errorf("AUDIT_SINKS_FILE: %w", err)
	}
	m := sink.NewManager(sink.Config{Store: a.Store, Rooms: &logRooms{store: a.Store, door: door, plane: rooms, house: a.House}, House: a.House, Log: a.log})
	a.metrics.registry.MustRegister(sinkMetrics{m, time.Now})
	if err := a.recordSinks(ctx, table, func() { m.Load(table.Specs) }); err != nil {
		m.Stop()
		return err
	}
	watch, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := sinkWatch{app: a, manager: m, path: path, about: about, digest: table.Digest}
		if err := yamlfile.Watch(watch, path, func() { w.look(watch) }); err != nil {
			w.refuse(err)
		}
	}()
	a.onClose(func() { cancel(); <-done; m.Stop() })
	return nil
}

// sinkWatch follows the file.
type sinkWatch struct {
	app             *App
	manager         *sink.Manager
	path            string
	about           file.About
	digest, refused string
}

func (w *sinkWatch) look(ctx context.Context) {
	table, err := file.Read(w.path, w.about)
	switch {
	case err != nil:
		if err.Error() != w.refused {
			w.refused = err.Error()
			w.refuse(err)
		}
	case table.Digest != w.digest || w.refused != "":
		// Not in the log, not in force: it is tried again at the next change.
		err := w.app.recordSinks(ctx, table, func() {
			w.digest, w.refused = table.Digest, ""
			w.manager.Load(table.Specs)
		})
		if err != nil {
			w.refuse(err)
		}
	}
}

func (w *sinkWatch) refuse(err error) {
	w.app.log.Error("the new sinks are refused, the old ones stay", "error", err)
	w.app.note(audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Outcome: audit.Refused, Reason: "sinks_refused", Actor: audit.Actor{Kind: audit.ActorSystem}})
}

// recordSinks brings sinks into force between its intent and its outcome.
func (a *App) recordSinks(ctx context.Context, t *file.Table, put func()) error {
	names := make([]string, 0, len(t.Specs))
	for _, s := range t.Specs {
		names = append(names, s.Name+" "+s.Kind+" "+s.To)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := a.House.Act(ctx, audit.Event{
		Type: audit.ConfigChanged, Severity: audit.Warning, Reason: "sinks_loaded", Actor: audit.Actor{Kind: audit.ActorSystem},
		Details: map[string]any{"digest": t.Digest, "sinks": names},
	}, func(context.Context) (audit.Outcome, map[string]any, error) { put(); return "", nil, nil })
	if err == nil {
		a.log.Info("audit sinks are in force", "sinks", len(names), "digest", t.Digest)
	}
	return err
}

// logRooms enters every tenant's log, a suspended one's too: its events leave
// like all others.
type logRooms struct {
	store *postgres.Store
	door  *tenant.Door
	plane *plane.Plane
	house plane.Room
	mu    sync.Mutex
	known map[tenant.ID]plane.Room
}

func (l *logRooms) Rooms(ctx context.Context) ([]plane.Room, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live := map[tenant.ID]plane.Room{}
	out := []plane.Room{l.house}
	const page = 500
	for after := ""; ; {
		list, err := l.store.Tenants(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, rec := range list {
			after = rec.Name
			r, ok := l.known[rec.ID]
			if !ok {
				scope, err := l.door.AdmitAnyStatus(ctx, rec.ID)
				if err != nil {
					return nil, err
				}
				if r, err = l.plane.Enter(scope); err != nil {
					return nil, err
				}
			}
			live[rec.ID] = r
			out = append(out, r)
		}
		if len(list) < page {
			l.known = live
			return out, nil
		}
	}
}

// sinkMetrics are one series for each sink of the file; the replica that holds
// a sink's lease has its figures.
type sinkMetrics struct {
	manager *sink.Manager
	now     func() time.Time
}

var sinkLabels = []string{"sink"}

var (
	sinkHolding   = prometheus.NewDesc("openclaw_audit_sink_holding", "1 where this replica works on the sink.", sinkLabels, nil)
	sinkState     = prometheus.NewDesc("openclaw_audit_sink_state", "1 for the state that the sink is in.", []string{"sink", "state"}, nil)
	sinkDelivered = prometheus.NewDesc("openclaw_audit_sink_delivered_total", "Events that the receiver took.", sinkLabels, nil)
	sinkFailures  = prometheus.NewDesc("openclaw_audit_sink_failures_total", "Sends that failed.", sinkLabels, nil)
	sinkAside     = prometheus.NewDesc("openclaw_audit_sink_set_aside_total", "Events that the receiver refused for good.", sinkLabels, nil)
	sinkBehind    = prometheus.NewDesc("openclaw_audit_sink_behind", "Numbers between the sink's cursors and the logs.", sinkLabels, nil)
	sinkOldest    = prometheus.NewDesc("openclaw_audit_sink_oldest_seconds", "Age of the oldest event known to wait.", sinkLabels, nil)
)

var sinkStates = []sink.State{sink.Starting, sink.Current, sink.Delivering, sink.Retrying, sink.Stopped, sink.Refusing}

func (sinkMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sinkHolding, sinkState, sinkDelivered, sinkFailures, sinkAside, sinkBehind, sinkOldest} {
		out <- d
	}
}

func (m sinkMetrics) Collect(out chan<- prometheus.Metric) {
	for _, s := range m.manager.Snapshots() {
		if !s.Holding {
			out <- prometheus.MustNewConstMetric(sinkHolding, prometheus.GaugeValue, 0, s.Sink)
			continue
		}
		out <- prometheus.MustNewConstMetric(sinkHolding, prometheus.GaugeValue, 1, s.Sink)
		for _, state := range sinkStates {
			var is float64
			if s.State == state {
				is = 1
			}
			out <- prometheus.MustNewConstMetric(sinkState, prometheus.GaugeValue, is, s.Sink, string(state))
		}
		out <- prometheus.MustNewConstMetric(sinkDelivered, prometheus.CounterValue, float64(s.Delivered), s.Sink)
		out <- prometheus.MustNewConstMetric(sinkFailures, prometheus.CounterValue, float64(s.Failures), s.Sink)
		out <- prometheus.MustNewConstMetric(sinkAside, prometheus.CounterValue, float64(s.SetAside), s.Sink)
		out <- prometheus.MustNewConstMetric(sinkBehind, prometheus.GaugeValue, float64(s.Behind), s.Sink)
		var age float64
		if !s.Oldest.IsZero() {
			age = max(m.now().Sub(s.Oldest).Seconds(), 0)
		}
		out <- prometheus.MustNewConstMetric(sinkOldest, prometheus.GaugeValue, age, s.Sink)
	}
}

// Sink is one sink for the list of them.
type Sink struct {
	sink.Status
	Kind       string `json:"kind,omitempty"`
	To         string `json:"to,omitempty"`
	Configured bool   `json:"configured"` // in AUDIT_SINKS_FILE, as far as it is known here
	Held       bool   `json:"held"`       // some replica works on it
}

// Sinks lists those of the file and those that ever worked, by name.
func (a *Admin) Sinks(ctx context.Context) ([]Sink, error) {
	states, err := a.Store.SinkStatuses(ctx)
	if err != nil {
		return nil, err
	}
	var out []Sink
	for _, st := range states {
		out = append(out, Sink{Status: st, Held: st.Holder != [16]byte{}})
	}
	if a.Config.AuditSinks != "" {
		table, err := file.Read(a.Config.AuditSinks, file.About{URL: a.Config.URL, Version: a.Config.Version})
		if err != nil {
			return nil, fmt.Errorf("AUDIT_SINKS_FILE: %w", err)
		}
		for _, s := range table.Specs {
			i := slices.IndexFunc(out, func(o Sink) bool { return o.Sink == s.Name })
			if i < 0 {
				out = append(out, Sink{Status: sink.Status{Sink: s.Name, State: sink.Starting}})
				i = len(out) - 1
			}
			out[i].Configured, out[i].Kind, out[i].To = true, s.Kind, s.To
		}
	}
	return out, nil
}
