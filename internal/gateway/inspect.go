package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
	"github.com/Nissimmiracles/openclaw/internal/inspect/waf"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// Inspection is the stage that reads what a request says: prompts where a
// route has text meant for a model, SQL and XSS in every other field. Prompt
// text is never searched for SQL, where SQL is a topic. A detector that is nil
// is switched off. A fault here refuses.
type Inspection struct {
	Prompt   inspect.Detector
	Fields   *inject.Scanner
	SQL, XSS bool
	Settings func(context.Context, plane.Room) (inspect.Settings, error)
	WAF      *waf.WAF // of routes that want it; nil: none
}

// Limits of a JSON body, wider than the API needs.
const (
	inspectDepth   = 64
	inspectMembers = 10_000
)

func (g *Gateway) inspect(x *Exchange) (err error) {
	in := g.cfg.Inspection
	if in == nil || x.probe() {
		return nil
	}
	var settings inspect.Settings
	if in.Settings != nil && x.Scope.Check() == nil {
		if settings, err = in.Settings(x.Request.Context(), x.Room); err != nil {
			return err
		}
	}
	x.encode = settings.EncodeEntities
	j := &judge{x: x, in: in, settings: settings}
	if err := j.firewall(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			x.details, x.severity = j.details, j.severity
		}
	}()
	if x.upstream != nil {
		return j.inspectUpstream(x.passage)
	}
	if q := x.Request.URL.RawQuery; q != "" && in.Fields != nil {
		found, err := in.Fields.Query(q, inject.Limits{}, nil)
		if err != nil {
			return err
		}
		if err := j.fields(found); err != nil {
			return err
		}
	}
	return j.apiBody(x.Route)
}

// judge is one request under inspection.
type judge struct {
	x        *Exchange
	in       *Inspection
	settings inspect.Settings
	flags    int // noted so far

	// Why it refuses, for the event. A body may still be judged while the
	// exchange is in other hands, so these are the judge's own until then.
	details  map[string]any
	severity audit.Severity
}

// apiBody judges a JSON body of the platform's own API as it arrives: the first
// byte that breaks a limit ends it. What some reader behind us may take for JSON
// (RFC 6839, section 3.1) is JSON here.
func (j *judge) apiBody(route *Route) error {
	kind, _, err := mime.ParseMediaType(j.x.Request.Header.Get("Content-Type"))
	if err == nil && !strings.HasSuffix(kind, "json") {
		return nil
	}
	patterns, err := stream.Pointers(slices.Concat(route.Prompts, route.Labels, route.Opaque))
	if err != nil {
		return err
	}
	limits := stream.Limits{Depth: inspectDepth, Members: inspectMembers}
	prompts := stream.Cover(1)<<len(route.Prompts) - 1
	labels := (stream.Cover(1)<<len(route.Labels) - 1) << len(route.Prompts)
	patterns = patterns.Joining(prompts | labels)
	visit := func(p stream.Piece) error {
		switch {
		case len(p.Seams) > 0, p.Cover&prompts != 0 && !p.Key:
			return j.piece(p, typed, false, false)
		case p.Cover&labels != 0 && (!p.Key || speaks(p.Text)):
			return j.piece(p, typed, j.in.SQL, j.in.XSS)
		case p.Cover&^labels == 0:
			return j.piece(p, 0, j.in.SQL, j.in.XSS)
		}
		return nil
	}
	return j.inspectBody(false, route.MaxBody, func(src io.Reader) (*stream.Reader, error) {
		return stream.NewJSON(src, limits, patterns, visit), nil
	})
}

// piece judges one string for the kinds that are wanted, as a prompt if it came
// from anywhere.
func (j *judge) piece(p stream.Piece, from sources, sql, xss bool) error {
	if from != 0 && j.in.Prompt != nil {
		if err := j.prompt(p, from, p.Where); err != nil {
			return err
		}
	}
	if j.in.Fields == nil || !sql && !xss {
		return nil
	}
	f := j.in.Fields.Field(p.Text, p.Key)
	if f.SQL.Confidence <= 0 && f.XSS.Confidence <= 0 {
		return nil
	}
	if f.Where = p.Where(); !sql {
		f.SQL.Confidence = 0
	}
	if !xss {
		f.XSS.Confidence = 0
	}
	return j.fields([]inject.Found{f})
}

func (j *judge) fields(found []inject.Found) error {
	for _, f := range found {
		at := place{where: func() string { return f.Where }}
		if f.Key {
			at.where = func() string { return "a name" } // it is the sender's own text
		}
		if j.in.SQL {
			if err := j.decide(f.SQL, f.Text, at, func(left string) inspect.Verdict { return j.in.Fields.Field(left, f.Key).SQL }); err != nil {
				return err
			}
		}
		if j.in.XSS {
			if err := j.decide(f.XSS, f.Text, at, func(left string) inspect.Verdict { return j.in.Fields.Field(left, f.Key).XSS }); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where a text stood, for the event.
type place struct {
	where  func() string
	trust  inspect.Trust // of prompts
	joined int           // of how many strings it is made
}

// decide applies the tenant's settings to a verdict: a block is a refusal whose
// event carries rule ids, score and digest; a flag is noted and passes. The
// client learns the kind and nothing of the rules. rest is as in Settings.Decide.
func (j *judge) decide(v inspect.Verdict, text string, at place, rest func(string) inspect.Verdict) error {
	if v.Confidence <= 0 {
		return nil
	}
	d, alert := j.settings.Decide(v, text, j.x.gate.cfg.Now(), rest)
	if d == inspect.Allow {
		return nil
	}
	details := map[string]any{"kind": string(v.Kind), "score": int64(v.Confidence*1000 + 0.5), "rules": ruleIDs(v), "families": v.Families, "alert": alert}
	if v.Kind == inspect.Prompt {
		details["trust"] = at.trust.String()
	}
	if at.joined > 1 {
		details["joined"] = int64(at.joined)
	}
	if where := at.where(); !strings.HasPrefix(where, "/") || len(where) < 64 {
		details["field"] = where
	}
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		details["digest"] = hex.EncodeToString(sum[:])
	}
	code := map[inspect.Kind]fault.Code{inspect.Prompt: fault.Prompt, inspect.SQL: fault.SQL, inspect.XSS: fault.XSS}[v.Kind]
	if d == inspect.Block {
		j.details, j.severity = details, audit.Warning
		if alert {
			j.severity = audit.High
		}
		return fault.New(code, "the request looks like an attack and was refused; an operator of your tenant can see why in the audit log, by the request id")
	}
	if j.flags++; j.flags > maxFlags {
		return nil
	}
	ev := j.x.Event(typeOf(code), "")
	ev.Severity, ev.Reason, ev.Details = audit.Warning, "flagged", details
	if alert {
		ev.Severity = audit.High
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.x.Request.Context()), recordTime)
	defer cancel()
	return j.x.roomOfRecord(ctx).Note(ctx, ev)
}

// maxFlags bounds the events of one request that passes.
const maxFlags = 64

// maxRules bounds an event.
const maxRules = 16

func ruleIDs(v inspect.Verdict) []string {
	var ids []string
	for _, f := range v.Findings {
		if !slices.Contains(ids, f.Rule) && len(ids) < maxRules {
			ids = append(ids, f.Rule)
		}
	}
	return ids
}
