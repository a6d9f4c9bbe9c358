package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
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

// inspectDepth is deeper than any body of the API needs.
const inspectDepth = 64

func (g *Gateway) inspect(x *Exchange) error {
	in := g.cfg.Inspection
	if in == nil || x.probe() {
		return nil
	}
	var settings inspect.Settings
	if in.Settings != nil && x.Scope.Check() == nil {
		var err error
		if settings, err = in.Settings(x.Request.Context(), x.Room); err != nil {
			return err
		}
	}
	x.encode = settings.EncodeEntities
	j := judge{x: x, in: in, settings: settings}
	if err := j.firewall(); err != nil {
		return err
	}
	if x.upstream != nil {
		return j.inspectUpstream(x.upstream)
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
	body, err := jsonBody(x)
	if err != nil || body == nil {
		return err
	}
	return j.body(body)
}

// jsonBody reads a JSON body once and gives it back to the request. What some
// reader behind us may take for JSON (RFC 6839, section 3.1) is JSON here.
func jsonBody(x *Exchange) ([]byte, error) {
	r := x.Request
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Body == nil || r.Body == http.NoBody || (err == nil && !strings.HasSuffix(kind, "json")) {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	return body, nil
}

// judge is one request under inspection.
type judge struct {
	x        *Exchange
	in       *Inspection
	settings inspect.Settings
}

func (j *judge) body(body []byte) error {
	route := j.x.Route
	if j.in.Fields != nil {
		limits := inject.Limits{Bytes: int(route.MaxBody), Depth: inspectDepth, String: int(route.MaxBody)}
		found, err := j.in.Fields.JSON(body, limits, func(pointer string) bool {
			return slices.Contains(route.Prompts, pointer) || slices.Contains(route.Opaque, pointer)
		})
		if err != nil {
			return err
		}
		if err := j.fields(found); err != nil {
			return err
		}
	}
	if j.in.Prompt == nil || len(route.Prompts) == 0 {
		return nil
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return nil // no object: the schema refuses it with better words
	}
	for _, pointer := range route.Prompts {
		var text string
		if json.Unmarshal(doc[strings.TrimPrefix(pointer, "/")], &text) != nil || text == "" {
			continue
		}
		if err := j.decide(j.in.Prompt.Inspect(text, inspect.User), text, pointer); err != nil {
			return err
		}
	}
	return nil
}

func (j *judge) fields(found []inject.Found) error {
	for _, f := range found {
		where := f.Where
		if f.Key {
			where = "a name" // it is the sender's own text
		}
		if j.in.SQL {
			if err := j.decide(f.SQL, "", where); err != nil {
				return err
			}
		}
		if j.in.XSS {
			if err := j.decide(f.XSS, "", where); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide applies the tenant's settings to a verdict: a block is a refusal whose
// event carries rule ids, score and digest; a flag is noted and passes. The
// client learns the kind and nothing of the rules.
func (j *judge) decide(v inspect.Verdict, text, where string) error {
	if v.Confidence <= 0 {
		return nil
	}
	d, alert := j.settings.Decide(v, text, j.x.gate.cfg.Now())
	if d == inspect.Allow {
		return nil
	}
	details := map[string]any{"kind": string(v.Kind), "score": int64(v.Confidence*1000 + 0.5), "rules": ruleIDs(v), "families": v.Families, "alert": alert}
	if !strings.HasPrefix(where, "/") || len(where) < 64 {
		details["field"] = where
	}
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		details["digest"] = hex.EncodeToString(sum[:])
	}
	code := map[inspect.Kind]fault.Code{inspect.Prompt: fault.Prompt, inspect.SQL: fault.SQL, inspect.XSS: fault.XSS}[v.Kind]
	if d == inspect.Block {
		j.x.details, j.x.severity = details, audit.Warning
		if alert {
			j.x.severity = audit.High
		}
		return fault.New(code, "the request looks like an attack and was refused; an operator of your tenant can see why in the audit log, by the request id")
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
