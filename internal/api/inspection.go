package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// InspectBody is a text to judge.
type InspectBody struct {
	Text  string `json:"text" minLength:"1" maxLength:"1048576"`
	Kind  string `json:"kind,omitempty" enum:"prompt,sql,xss" default:"prompt"`
	Trust string `json:"trust,omitempty" enum:"user,document,tool" default:"user" doc:"Where the text comes from"`
}

// InspectView is a verdict under the tenant's settings.
type InspectView struct {
	Kind       string            `json:"kind"`
	Confidence float64           `json:"confidence" doc:"0.0 to 1.0, calibrated"`
	Decision   string            `json:"decision" enum:"allow,flag,block"`
	Alert      bool              `json:"alert"`
	Families   []string          `json:"families"`
	Findings   []inspect.Finding `json:"findings" doc:"Rule ids, places in the text and shares of the score"`
}

// settingKind is the documents' kind of a tenant's settings.
const settingKind = "setting"

// inspectionID is where the settings of inspection stand in every tenant.
var inspectionID = uuid.MustParse("00000000-0000-8000-8000-0000000000a1")

// Inspection reads a tenant's settings; a tenant that set nothing has the
// defaults.
func Inspection(ctx context.Context, room plane.Room) (s inspect.Settings, version int64, err error) {
	d, err := room.Documents().Get(ctx, settingKind, inspectionID)
	if fault.CodeOf(err) == fault.NotFound {
		return inspect.Settings{}, 0, nil
	}
	if err != nil {
		return s, 0, err
	}
	return s, d.Version, json.Unmarshal(d.Data, &s)
}

func (a *API) inspection() {
	if len(a.deps.Detectors) > 0 {
		register(a, op{method: "POST", path: "/v1/inspect", id: "inspect", summary: "Judge a text: prompt, SQL or XSS injection", action: policy.InspectRun, class: "expensive", maxBody: 4 << 20, opaque: []string{"/text"}},
			func(ctx context.Context, x *gateway.Exchange, in *struct{ Body InspectBody }) (*Out[InspectView], error) {
				if err := x.Decide(policy.Resource{Kind: "inspection"}); err != nil {
					return nil, err
				}
				settings, _, err := Inspection(ctx, x.Room)
				if err != nil {
					return nil, err
				}
				trust, _ := inspect.ParseTrust(in.Body.Trust)
				for _, d := range a.deps.Detectors {
					if string(d.Kind()) != in.Body.Kind {
						continue
					}
					v := d.Inspect(in.Body.Text, trust)
					decision, alert := settings.Decide(v, in.Body.Text, time.Now(), func(left string) inspect.Verdict { return d.Inspect(left, trust) })
					out := &Out[InspectView]{InspectView{Kind: string(v.Kind), Confidence: v.Confidence, Decision: decision.String(), Alert: alert, Families: v.Families, Findings: v.Findings}}
					if out.Body.Families == nil {
						out.Body.Families = []string{}
					}
					if out.Body.Findings == nil {
						out.Body.Findings = []inspect.Finding{}
					}
					return out, nil
				}
				return nil, fault.New(fault.Unavailable, "this inspection is switched off")
			})
	}
	register(a, op{method: "GET", path: "/v1/settings/inspection", id: "get-inspection-settings", summary: "See how inspection is set for my tenant", action: policy.SettingsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, _ *struct{}) (*Tagged[InspectionView], error) {
			if err := x.Decide(policy.Resource{Kind: "setting", ID: "inspection"}); err != nil {
				return nil, err
			}
			s, version, err := Inspection(ctx, x.Room)
			if err != nil {
				return nil, err
			}
			return &Tagged[InspectionView]{etag(version), viewOf(s, version)}, nil
		})
	register(a, op{method: "PUT", path: "/v1/settings/inspection", id: "set-inspection-settings", summary: "Set thresholds, actions, shadow mode and allowed spans", action: policy.SettingsUpdate, class: "write", opaque: []string{"/allowed"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			IfMatch
			Body InspectionBody
		}) (*Tagged[InspectionView], error) {
			ifVersion, err := in.version()
			if err != nil {
				return nil, err
			}
			if err := x.Decide(policy.Resource{Kind: "setting", ID: "inspection"}); err != nil {
				return nil, err
			}
			s, err := in.Body.settings(x.Principal.Subject)
			if err == nil {
				err = s.Check(time.Now())
			}
			if err != nil {
				return nil, fault.Wrap(err, fault.Unprocessable, "%s", err.Error())
			}
			version, err := a.storeInspection(ctx, x, s, ifVersion)
			if err != nil {
				return nil, err
			}
			return &Tagged[InspectionView]{etag(version), viewOf(s, version)}, nil
		})
}

// InspectionBody is what a tenant may set.
type InspectionBody struct {
	BlockAbove  float64           `json:"block_above,omitempty" minimum:"0" maximum:"1" doc:"0: the default, 0.5"`
	AlertAbove  float64           `json:"alert_above,omitempty" minimum:"0" maximum:"1" doc:"0: the default, 0.7"`
	Action      map[string]string `json:"action,omitempty" doc:"The most that is done per kind (prompt, sql, xss): allow, flag or block"`
	ShadowUntil *time.Time        `json:"shadow_until,omitempty" doc:"Until then blocks are flags; at most 90 days ahead"`
	Allowed     []AllowedBody     `json:"allowed,omitempty" maxItems:"256" doc:"Texts that somebody looked at and lets pass"`
	Entities    bool              `json:"encode_entities,omitempty" doc:"Write markup in strings of answers as HTML entities. Texts are changed: send back what was read and it is encoded twice"`
}

// AllowedBody is one allow-listed span.
type AllowedBody struct {
	Text    string     `json:"text" minLength:"8" maxLength:"4096"`
	Owner   string     `json:"owner,omitempty" maxLength:"200" doc:"Who answers for it; left out, it is you"`
	Kind    string     `json:"kind,omitempty" enum:"prompt,sql,xss"`
	Expires *time.Time `json:"expires,omitempty"`
}

// InspectionView is the settings in force.
type InspectionView struct {
	InspectionBody
	Version int64 `json:"version"`
}

func (b InspectionBody) settings(subject string) (s inspect.Settings, err error) {
	s = inspect.Settings{BlockAbove: b.BlockAbove, AlertAbove: b.AlertAbove, EncodeEntities: b.Entities}
	if b.ShadowUntil != nil {
		s.ShadowUntil = *b.ShadowUntil
	}
	for k, v := range b.Action {
		var d inspect.Decision
		if err := d.UnmarshalText([]byte(v)); err != nil {
			return s, err
		}
		if s.Action == nil {
			s.Action = map[inspect.Kind]inspect.Decision{}
		}
		s.Action[inspect.Kind(k)] = d
	}
	for _, a := range b.Allowed {
		span := inspect.AllowedSpan{Text: a.Text, Owner: a.Owner, Kind: inspect.Kind(a.Kind)}
		if span.Owner == "" {
			span.Owner = subject
		}
		if a.Expires != nil {
			span.Expires = *a.Expires
		}
		s.Allowed = append(s.Allowed, span)
	}
	return s, nil
}

func viewOf(s inspect.Settings, version int64) InspectionView {
	v := InspectionView{Version: version, InspectionBody: InspectionBody{BlockAbove: s.BlockAbove, AlertAbove: s.AlertAbove, Entities: s.EncodeEntities}}
	if v.BlockAbove == 0 {
		v.BlockAbove = inspect.DefaultBlock
	}
	if v.AlertAbove == 0 {
		v.AlertAbove = inspect.DefaultAlert
	}
	if !s.ShadowUntil.IsZero() {
		v.ShadowUntil = &s.ShadowUntil
	}
	for k, d := range s.Action {
		if v.Action == nil {
			v.Action = map[string]string{}
		}
		v.Action[string(k)] = d.String()
	}
	for _, a := range s.Allowed {
		b := AllowedBody{Text: a.Text, Owner: a.Owner, Kind: string(a.Kind)}
		if !a.Expires.IsZero() {
			b.Expires = &a.Expires
		}
		v.Allowed = append(v.Allowed, b)
	}
	return v
}

// storeInspection keeps the settings; that a protection was loosened or
// tightened is on record, and by how much.
func (a *API) storeInspection(ctx context.Context, x *gateway.Exchange, s inspect.Settings, ifVersion int64) (int64, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	_, version, err := Inspection(ctx, x.Room)
	if err != nil {
		return 0, err
	}
	if ifVersion > 0 && ifVersion != version {
		return 0, fault.New(fault.Stale, "the settings are at version %d by now; read them again", version)
	}
	ev := x.Event(audit.ConfigChanged, "setting/inspection")
	ev.Severity = audit.Warning
	ev.Details = map[string]any{"block_above_thousandths": int64(s.BlockAbove * 1000), "alert_above_thousandths": int64(s.AlertAbove * 1000),
		"allowed_spans": int64(len(s.Allowed)), "shadow": !s.ShadowUntil.IsZero(), "encode_entities": s.EncodeEntities}
	for k, d := range s.Action {
		ev.Details["action_"+string(k)] = d.String()
	}
	if !s.ShadowUntil.IsZero() {
		ev.Details["shadow_until"] = s.ShadowUntil.UTC().Format(time.RFC3339)
	}
	// which texts pass and who answers for each: a digest, never the text
	var spans []string
	for _, a := range s.Allowed[:min(len(s.Allowed), 64)] {
		sum := sha256.Sum256([]byte(a.Text))
		spans = append(spans, hex.EncodeToString(sum[:])+" "+a.Owner)
	}
	if len(spans) > 0 {
		ev.Details["allowed"] = spans
	}
	doc := plane.Document{Kind: settingKind, ID: inspectionID, Data: data, Version: version}
	err = x.Change(ctx, ev, func(tx plane.Tx) (err error) {
		if version == 0 {
			doc, err = tx.Documents().Create(ctx, doc)
		} else {
			doc, err = tx.Documents().Update(ctx, doc, version)
		}
		return err
	})
	return doc.Version, err
}
