package gateway

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
)

// Firewall puts routes behind the WAF: names such as "POST /v1/users", or "*"
// for all. It is called before the gateway serves.
func (t *Routes) Firewall(names []string) error {
	for _, name := range names {
		if name == "*" {
			for _, r := range t.byName {
				r.WAF = true
			}
			continue
		}
		r := t.byName[name]
		if r == nil {
			return fmt.Errorf("%q is no route; want a method and a path as in /openapi.json, or *", name)
		}
		r.WAF = true
	}
	return nil
}

// firewall lets the WAF judge a request of a route that wants it. What a model
// reads, and what nobody reads (passwords), is never shown to it: there SQL and
// script are topics. A tenant's thresholds and shadow mode do not bind it; the
// operator chose it.
func (j *judge) firewall() error {
	x := j.x
	skip, wanted := len(x.Route.Prompts)+len(x.Route.Opaque) > 0, x.Route.WAF
	if x.upstream != nil {
		skip, wanted = readByModel(x.upstream), x.upstream.WAF
	}
	if !wanted {
		return nil
	}
	if j.in.WAF == nil {
		return fault.New(fault.Unavailable, "this route wants a firewall, and none is loaded")
	}
	if plain, err := notEncoded(x.Request.Header); !skip && (err != nil || !plain) {
		return fault.New(fault.MediaType, "the body is compressed: the firewall of this route reads it")
	}
	d, err := j.in.WAF.Inspect(x.Request.Context(), x.Request, &net.TCPAddr{IP: x.Client.AsSlice()}, skip)
	if err != nil {
		return err
	}
	if err = d.Err(); err == nil {
		return nil
	}
	ids := make([]string, 0, maxRules)
	for _, id := range append([]int{d.Rule}, d.Rules...) {
		if s := strconv.Itoa(id); len(ids) < maxRules && !slices.Contains(ids, s) {
			ids = append(ids, s)
		}
	}
	x.details, x.severity = map[string]any{"kind": "waf", "rules": ids}, audit.High
	return err
}

// readByModel: some part of the body is inspected as a prompt.
func readByModel(r *upstream.Route) bool {
	return slices.ContainsFunc(r.Inspect, func(i upstream.Inspection) bool {
		return len(i.Field) >= 4 && i.Field[:4] == "body" && slices.Contains(i.For, "prompt")
	})
}
