package api

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// Selection are the filters of the log, shared by listings and exports.
type Selection struct {
	From      time.Time `query:"from" doc:"RFC 3339"`
	To        time.Time `query:"to" doc:"RFC 3339, exclusive"`
	Type      []string  `query:"type" maxItems:"50" doc:"Event types, comma separated"`
	Severity  []string  `query:"severity" maxItems:"4"`
	Actor     string    `query:"actor" maxLength:"200"`
	Resource  string    `query:"resource" maxLength:"200" example:"agent/0192e4a0-7d3c-7000-8000-000000000001"`
	Outcome   string    `query:"outcome" enum:"success,refused,failed,intent,unknown"`
	RequestID string    `query:"request_id" maxLength:"64"`
	Cursor    string    `query:"cursor" maxLength:"20" doc:"next_cursor of the page before; of an export, the last number that arrived"`
}

func (in *Selection) query() (audit.Query, error) {
	q := audit.Query{From: in.From, To: in.To, Actor: in.Actor, Resource: in.Resource, Outcome: audit.Outcome(in.Outcome), RequestID: in.RequestID}
	for _, t := range in.Type {
		if !audit.Type(t).Known() {
			return q, &fault.Error{Code: fault.Unprocessable, Detail: "there is no such event type", Fields: []fault.Field{{Location: "query.type", Message: "want names as in LOGIN_FAILED"}}}
		}
		q.Types = append(q.Types, audit.Type(t))
	}
	for _, s := range in.Severity {
		if !slices.Contains([]audit.Severity{audit.Info, audit.Warning, audit.High, audit.Critical}, audit.Severity(s)) {
			return q, &fault.Error{Code: fault.Unprocessable, Detail: "there is no such severity", Fields: []fault.Field{{Location: "query.severity", Message: "want INFO, WARNING, HIGH or CRITICAL"}}}
		}
		q.Severity = append(q.Severity, audit.Severity(s))
	}
	if in.Cursor != "" {
		seq, err := strconv.ParseInt(in.Cursor, 10, 64)
		if err != nil || seq < 1 {
			return q, fault.New(fault.Unprocessable, "the cursor is not one of ours; start again without it")
		}
		q.After = seq
	}
	return q, nil
}

func (a *API) audit() {
	type filters struct {
		Selection
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
		Order string `query:"order" enum:"asc,desc" default:"asc"`
	}
	register(a, op{method: "GET", path: "/v1/audit/events", id: "list-audit-events", summary: "Read the audit log", action: policy.AuditRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *filters) (*Out[Page[audit.Entry]], error) {
			q, err := in.query()
			if err != nil {
				return nil, err
			}
			q.Newest, q.Limit = in.Order == "desc", in.Limit
			entries, more, err := x.Room.Log().Events(ctx, q)
			if err != nil {
				return nil, err
			}
			out := &Out[Page[audit.Entry]]{Page[audit.Entry]{Items: entries}}
			if out.Body.Items == nil {
				out.Body.Items = []audit.Entry{}
			}
			if more {
				out.Body.Next = strconv.FormatInt(entries[len(entries)-1].Seq, 10)
			}
			return out, nil
		})
	a.proofs()
	a.exports()
}
