package gateway

import (
	"io"
	"slices"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
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
		if err := j.part(want); err != nil {
			return err
		}
	}
	if p.body == nil {
		return nil
	}
	if len(j.x.Request.Header["Upgrade"]) > 0 { // what follows is no body, and nobody reads it
		return fault.New(fault.MediaType, "this route takes no other protocol: its content is inspected")
	}
	if noBody(j.x.Request) {
		return nil
	}
	if len(j.x.Request.Header["Content-Type"]) > 1 {
		return fault.New(fault.MediaType, "the body has more than one type")
	}
	return j.upstreamBody(p.body, p.route.MaxBody)
}

// part judges a part of the request that is not its body.
func (j *judge) part(want upstream.Inspection) error {
	where := func() string { return want.Field }
	show := func(p stream.Piece) error { return j.prompt(p, sourceOf(want), where) }
	together := stream.NewFields(show)
	value := func(name, text string, alone bool) (err error) {
		if alone {
			err = j.text(text, false, want)
		}
		if err == nil && j.in.Prompt != nil && slices.Contains(want.For, "prompt") {
			err = together.Add(name, text)
		}
		return err
	}
	switch kind, name, _ := strings.Cut(want.Field, "."); kind {
	case "query":
		// url.Query drops what it does not understand, and the upstream gets it
		if err := inject.Parameters(j.x.Request.URL.RawQuery, inject.Limits{}, func(name, text string) error {
			if err := j.text(name, true, want); err != nil {
				return err
			}
			return value(name, text, true)
		}); err != nil {
			return err
		}
	case "path":
		return j.text(j.x.Request.URL.Path, false, want)
	case "header":
		var sent []string
		for s := range j.x.Request.Header {
			if sameHeader(s, name) {
				sent = append(sent, s)
			}
		}
		slices.Sort(sent)
		all := func(alone bool) error {
			for _, s := range sent {
				for _, v := range j.x.Request.Header[s] {
					if err := value("", v, alone); err != nil {
						return err
					}
				}
			}
			return together.End()
		}
		if err := all(true); err != nil || len(sent) < 2 {
			return err
		}
		// which of two spellings a reader takes first, nobody here knows
		slices.Reverse(sent)
		together = stream.NewFields(show)
		return all(false)
	}
	return together.End()
}

// sameHeader compares names as services behind CGI-like interfaces do.
func sameHeader(sent, name string) bool {
	return strings.EqualFold(strings.ReplaceAll(sent, "_", "-"), strings.ReplaceAll(name, "_", "-"))
}

// upstreamBody judges the parts of a body that are wanted: a place that is
// named and everything below it.
func (j *judge) upstreamBody(want *bodyWants, limit int64) error {
	if want.prompt != 0 {
		j.x.watch = &stream.Watch{}
	}
	visit := func(p stream.Piece) error {
		from := want.sources(p.Cover)
		if len(p.Seams) > 0 {
			return j.piece(p, from, false, false)
		}
		if from != 0 {
			j.plant(p.Text)
		}
		if p.Key && !speaks(p.Text) {
			from = 0
		}
		return j.piece(p, from, p.Cover&want.sql != 0 && j.in.SQL, p.Cover&want.xss != 0 && j.in.XSS)
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

// speaks says whether a name could say something to a model: most are plain
// identifiers, and those are not read.
func speaks(name string) bool {
	if len(name) > 32 {
		return true
	}
	for i := range len(name) {
		if c := name[i]; c|0x20-'a' >= 26 && c-'0' >= 10 && c != '_' && c != '-' && c != '.' {
			return true
		}
	}
	return false
}

// text judges one string of such a part.
func (j *judge) text(text string, name bool, want upstream.Inspection) error {
	where := func() string { return want.Field }
	for _, kind := range want.For {
		var err error
		switch {
		case kind == "prompt":
			if j.in.Prompt != nil && (!name || speaks(text)) {
				err = j.prompt(stream.Piece{Text: text}, sourceOf(want), where)
			}
		case j.in.Fields == nil: // switched off, which the start announced
		default:
			f := j.in.Fields.Field(text, name)
			if f.Where = want.Field; kind != "sql" {
				f.SQL.Confidence = 0
			}
			if kind != "xss" {
				f.XSS.Confidence = 0
			}
			err = j.fields([]inject.Found{f})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
