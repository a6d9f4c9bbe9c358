package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway/upstream"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
)

// inspectUpstream reads what the route's file names and nothing else. A route
// that wants a body inspected and gets one that cannot be read whole (another
// media type, beyond the limit) refuses it: in doubt the door stays shut.
func (j *judge) inspectUpstream(route *upstream.Route) error {
	var body []byte
	var doc any
	for _, want := range route.Inspect {
		switch kind, _, _ := strings.Cut(want.Field, "."); kind {
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
			if err := j.texts(j.x.Request.Header.Values(strings.TrimPrefix(want.Field, "header.")), want); err != nil {
				return err
			}
		case "body", "body[*]":
			if body == nil {
				var err error
				if body, doc, err = j.wholeBody(route.MaxBody); err != nil {
					return err
				}
			}
			if err := j.upstreamBody(body, doc, want); err != nil {
				return err
			}
		default:
			return fault.New(fault.Internal, "the route names a part of the request that nobody knows")
		}
	}
	return nil
}

// wholeBody reads a JSON or text body and gives it back. doc is nil for text.
func (j *judge) wholeBody(limit int64) ([]byte, any, error) {
	r := j.x.Request
	if r.Body == nil || r.Body == http.NoBody {
		return []byte{}, nil, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || (kind != "application/json" && !strings.HasSuffix(kind, "+json") && !strings.HasPrefix(kind, "text/")) || r.Header.Get("Content-Encoding") != "" {
		return nil, nil, fault.New(fault.MediaType, "this route takes JSON or text, not compressed: its content is inspected")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if err != nil {
		return nil, nil, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if strings.HasPrefix(kind, "text/") {
		return body, nil, nil
	}
	var doc any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "the body is not JSON")
	}
	return body, doc, nil
}

func (j *judge) upstreamBody(body []byte, doc any, want upstream.Inspection) error {
	if want.Field != "body" {
		return j.texts(pick(doc, strings.TrimPrefix(want.Field, "body")), want)
	}
	if doc == nil {
		return j.text(string(body), want)
	}
	if slices.Contains(want.For, "prompt") {
		if err := j.texts(pick(doc, "**"), upstream.Inspection{Field: want.Field, For: []string{"prompt"}}); err != nil {
			return err
		}
	}
	if j.in.Fields == nil || !(slices.Contains(want.For, "sql") || slices.Contains(want.For, "xss")) {
		return nil
	}
	limits := inject.Limits{Bytes: len(body), Depth: inspectDepth, String: len(body)}
	found, err := j.in.Fields.JSON(body, limits, nil)
	if err != nil {
		return err
	}
	only := *j
	in := *j.in
	in.SQL, in.XSS = in.SQL && slices.Contains(want.For, "sql"), in.XSS && slices.Contains(want.For, "xss")
	only.in = &in
	return only.fields(found)
}

// pick finds the strings at a path such as .messages[*].content; "**" is every
// string of the document.
func pick(doc any, path string) []string {
	switch v := doc.(type) {
	case string:
		if path == "" || path == "**" {
			return []string{v}
		}
	case []any:
		rest, ok := strings.CutPrefix(path, "[*]")
		if path == "**" {
			rest, ok = path, true
		}
		if !ok {
			return nil
		}
		var out []string
		for _, e := range v {
			out = append(out, pick(e, rest)...)
		}
		return out
	case map[string]any:
		var out []string
		if path == "**" {
			for _, e := range v {
				out = append(out, pick(e, path)...)
			}
			return out
		}
		if !strings.HasPrefix(path, ".") {
			return nil
		}
		name := path[1:]
		if i := strings.IndexAny(name, ".["); i >= 0 {
			name = name[:i]
		}
		return pick(v[name], path[1+len(name):])
	}
	return nil
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
