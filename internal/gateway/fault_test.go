package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// broken is a detector that fails in one way or another.
type broken struct {
	confidence float64
	panics     bool
}

func (broken) Kind() inspect.Kind { return inspect.Prompt }

func (b broken) Inspect(text string, _ inspect.Trust) inspect.Verdict {
	if b.panics {
		panic("index out of range: " + text)
	}
	return inspect.Verdict{Kind: inspect.Prompt, Confidence: b.confidence}
}

// An inspection that fails closes the door: the handler does not run, the
// answer is a refusal that says nothing of the text, and it is on record.
func TestInspectionFaultCloses(t *testing.T) {
	t.Parallel()
	settings := func(s inspect.Settings, err error) func(context.Context, plane.Room) (inspect.Settings, error) {
		return func(context.Context, plane.Room) (inspect.Settings, error) { return s, err }
	}
	var nan float64
	nan /= nan
	for name, k := range map[string]struct {
		set    func(*Inspection)
		status int
		stage  string // that the event names; "": it passes
	}{
		"sound":             {func(in *Inspection) { in.Prompt = broken{confidence: 0.1} }, 200, ""},
		"detector panics":   {func(in *Inspection) { in.Prompt = broken{panics: true} }, 500, "inspect"},
		"no number":         {func(in *Inspection) { in.Prompt = broken{confidence: nan} }, 403, "inspect"},
		"settings are away": {func(in *Inspection) { in.Settings = settings(inspect.Settings{}, errors.New("no database")) }, 500, "inspect"},
		"settings time out": {func(in *Inspection) { in.Settings = settings(inspect.Settings{}, context.DeadlineExceeded) }, 500, "inspect"},
		"settings are closed": {func(in *Inspection) {
			in.Settings = settings(inspect.Settings{}, fault.New(fault.Unavailable, "closed"))
		}, 503, "inspect"},
	} {
		f := newFixture(t)
		f.route("POST /things").Prompts = []string{"/text"}
		k.set(f.gate.cfg.Inspection)
		status, trail := f.ask(request("POST", "/things", "developer", `{"text":"zzsecretzz"}`))
		if status != k.status || strings.Contains(trail, "handler") != (k.stage == "") {
			t.Errorf("%s: %d %s", name, status, trail)
		}
		if k.stage == "" {
			continue
		}
		if len(f.log.events) != 1 || f.log.events[0].Details["stage"] != k.stage || f.log.events[0].Outcome == audit.Success {
			t.Errorf("%s: on record is %+v", name, f.log.events)
		}
		for _, ev := range f.log.events {
			for _, v := range ev.Details {
				if s, ok := v.(string); ok && strings.Contains(s, "zzsecretzz") {
					t.Errorf("%s: the event holds the text: %v", name, ev.Details)
				}
			}
		}
	}
}

// A route that wants a firewall where none is loaded is shut.
func TestMissingFirewallCloses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.gate.cfg.Routes.Firewall([]string{"POST /things"}); err != nil {
		t.Fatal(err)
	}
	if status, trail := f.ask(request("POST", "/things", "developer", `{}`)); status != http.StatusServiceUnavailable || strings.Contains(trail, "handler") {
		t.Errorf("%d %s", status, trail)
	}
	if err := f.gate.cfg.Routes.Firewall([]string{"GET /things"}); err == nil {
		t.Error("a firewall before no route")
	}
}

// Severity follows the tenant's alert line.
func TestAlert(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		confidence float64
		settings   inspect.Settings
		status     int
		want       audit.Severity
	}{
		{0.6, inspect.Settings{}, 403, audit.Warning},
		{0.71, inspect.Settings{}, 403, audit.High},
		{0.6, inspect.Settings{AlertAbove: 0.55}, 403, audit.High},
		{0.95, inspect.Settings{AlertAbove: 0.97}, 403, audit.Warning},
		{0.8, inspect.Settings{BlockAbove: 0.9}, 200, audit.High},
		{0.6, inspect.Settings{BlockAbove: 0.9}, 200, audit.Warning},
	} {
		f := newFixture(t)
		f.route("POST /things").Prompts = []string{"/text"}
		f.gate.cfg.Inspection.Prompt = broken{confidence: k.confidence}
		f.gate.cfg.Inspection.Settings = func(context.Context, plane.Room) (inspect.Settings, error) { return k.settings, nil }
		status, _ := f.ask(request("POST", "/things", "developer", `{"text":"some text"}`))
		var found bool
		for _, ev := range f.log.events {
			if ev.Type == audit.PromptInjectionDetected {
				found = true
				if ev.Severity != k.want || ev.Details["alert"] != (k.want == audit.High) {
					t.Errorf("%v: severity %s, %v", k, ev.Severity, ev.Details)
				}
			}
		}
		if status != k.status || !found {
			t.Errorf("%v: status %d, event %v", k, status, found)
		}
	}
}

// route is a declared route, to be changed before the first request.
func (f *fixture) route(name string) *Route { return f.gate.cfg.Routes.byName[name] }
