package gateway

import (
	"math/bits"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
)

// passage is an upstream's route made ready: what every request to it would
// work out anew.
type passage struct {
	upstream *upstream.Route
	route    Route
	wants    []upstream.Inspection // of parts that are not the body
	body     *bodyWants            // nil: its body is nobody's business here
	err      error                 // the file names what nobody here knows
}

// bodyWants are the places of a body that are inspected, and for what.
type bodyWants struct {
	patterns         stream.Patterns
	prompt, sql, xss stream.Cover
	from             [3]stream.Cover // of prompt, by trust
}

func (b *bodyWants) sources(c stream.Cover) (s sources) {
	for trust, places := range b.from {
		if c&places != 0 {
			s |= 1 << trust
		}
	}
	return s
}

// sourceOf is who speaks at a place of the route's file.
func sourceOf(want upstream.Inspection) sources {
	t, ok := inspect.ParseTrust(want.Trust)
	if !ok {
		return typed
	}
	return 1 << t
}

// passages are a table's. They are made when the table is first seen in force.
type passages struct {
	table *upstream.Table
	by    map[*upstream.Route]*passage
}

func (g *Gateway) passages(t *upstream.Table) *passages {
	if p := g.ready.Load(); p != nil && p.table == t {
		return p
	}
	p := &passages{table: t, by: map[*upstream.Route]*passage{}}
	for _, ur := range t.Routes() {
		p.by[ur] = newPassage(ur)
	}
	g.ready.Store(p)
	return p
}

func newPassage(ur *upstream.Route) *passage {
	p := &passage{upstream: ur}
	// Serve bounds time and body itself: a deadline here would cut streams.
	p.route = Route{Pattern: ur.Match, Action: ur.Action, Class: ur.Class, MaxBody: ur.MaxBody, Timeout: -1}
	var places []string
	for _, want := range ur.Inspect {
		switch part, _, _ := strings.Cut(want.Field, "."); part {
		case "query", "path", "header":
			p.wants = append(p.wants, want)
		case "body", "body[*]":
			if p.body == nil {
				p.body = &bodyWants{}
			}
			if p.err = p.body.add(len(places), want); p.err != nil {
				return p
			}
			places = append(places, strings.TrimPrefix(want.Field, "body"))
		default:
			p.err = fault.New(fault.Internal, "the route names a part of the request that nobody knows")
			return p
		}
	}
	if p.body != nil {
		var err error
		if p.body.patterns, err = stream.Compile(places); err != nil {
			p.err = fault.Wrap(err, fault.Internal, "the route names a place in a body that nobody knows")
		}
		p.body.patterns = p.body.patterns.Joining(p.body.prompt)
	}
	return p
}

func (b *bodyWants) add(place int, want upstream.Inspection) error {
	for _, kind := range want.For {
		switch kind {
		case "prompt":
			b.prompt |= 1 << place
			b.from[bits.TrailingZeros8(uint8(sourceOf(want)))] |= 1 << place
		case "sql":
			b.sql |= 1 << place
		case "xss":
			b.xss |= 1 << place
		default:
			return fault.New(fault.Internal, "the route wants an inspection that nobody knows")
		}
	}
	return nil
}
