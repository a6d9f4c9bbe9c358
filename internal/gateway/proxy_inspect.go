package gateway

import (
	"io"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
)

// inspectUpstream reads what the route's file names and nothing else. A route
// that wants a body inspected and gets one that nobody here can read (another
// media type, another encoding) refuses it: in doubt the door stays shut.
func (j *judge) inspectUpstream(p *passage) error {
	if p.err != nil {
		return p.err
	}
	for _, want := range p.wants {
		switch kind, name, _ := strings.Cut(want.Field, "."); kind {
		case "query":
			for _, values := range j.x.Request.URL.Query() {
				if err := j.texts(values, want); err != nil {
					return err
				}
			}
		case "path":
			if err := j.text(j.x.Request.URL.Path, want); err != nil {
				return err
			}
		case "header":
			if err := j.texts(j.x.Request.Header.Values(name), want); err != nil {
				return err
			}
		}
	}
	if p.body == nil || noBody(j.x.Request) {
		return nil
	}
	return j.upstreamBody(p.body, p.route.MaxBody)
}

// upstreamBody judges the parts of a body that are wanted: a place that is
// named and everything below it.
func (j *judge) upstreamBody(want *bodyWants, limit int64) error {
	if want.prompt != 0 {
		j.x.watch = &stream.Watch{}
	}
	visit := func(p stream.Piece) error {
		if p.Cover&want.prompt != 0 {
			j.plant(p.Text)
		}
		return j.piece(p, p.Cover&want.prompt != 0, p.Cover&want.sql != 0 && j.in.SQL, p.Cover&want.xss != 0 && j.in.XSS)
	}
	return j.inspectBody(true, limit, func(src io.Reader) (*stream.Reader, error) {
		return stream.New(src, j.x.Request.Header.Get("Content-Type"), stream.Limits{Depth: inspectDepth}, want.patterns, visit)
	})
}

// maxPlanted bounds the canaries of one string.
const maxPlanted = 4

// plant looks for canaries in a prompt, so that its answer may be watched for
// them. A watched answer must come unencoded.
func (j *judge) plant(text string) {
	if found := inspect.Planted(text, maxPlanted); len(found) > 0 {
		j.x.watch.Look(found...)
		if j.x.passing == nil {
			j.x.Request.Header.Del("Accept-Encoding")
		}
	}
}

func (j *judge) texts(texts []string, want upstream.Inspection) error {
	for _, t := range texts {
		if err := j.text(t, want); err != nil {
			return err
		}
	}
	return nil
}

func (j *judge) text(text string, want upstream.Inspection) error {
	for _, kind := range want.For {
		var d inspect.Detector
		switch {
		case kind == "prompt":
			d = j.in.Prompt
		case j.in.Fields == nil:
		case kind == "sql" && j.in.SQL:
			d = j.in.Fields.SQL()
		case kind == "xss" && j.in.XSS:
			d = j.in.Fields.XSS()
		}
		if d == nil {
			continue // switched off, which the start announced
		}
		if err := j.decide(d.Inspect(text, inspect.User), text, want.Field); err != nil {
			return err
		}
	}
	return nil
}
