// Package file reads AUDIT_SINKS_FILE: which sinks there are, what each gets,
// and how its receiver is spoken to.
package file

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

const maxSinks = 64

// About is what the sinks say of this installation.
type About struct {
	Host    string // of the public URL
	URL     string // the public URL
	Version string
}

// Table is a file as read.
type Table struct {
	Specs  []sink.Spec
	Digest string // of the text
}

// Read reads a file.
func Read(path string, about About) (*Table, error) {
	text, err := yamlfile.Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, about)
}

// Parse reads a file's text strictly; every error is a *yamlfile.LineError. name
// is the file's for errors. docs/SINKS.md has an example of every key.
func Parse(name string, text []byte, about About) (*Table, error) {
	p := &parser{File: yamlfile.File(name), about: about}
	doc, err := p.Document(text, "")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	t := &Table{Digest: hex.EncodeToString(sum[:])}
	var list []ast.Node
	err = p.Mapping(doc, []string{"version", "sinks"}, yamlfile.Fields{
		"version": func(n ast.Node) error { _, err := p.Number(n, 1, 1); return err },
		"sinks": func(n ast.Node) (err error) {
			if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
				return nil // sinks: [] is none
			}
			list, err = p.Sequence(n)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if len(list) > maxSinks {
		return nil, p.At(doc, "", "more than %d sinks", maxSinks)
	}
	seen := map[string]int{}
	for _, n := range list {
		s, err := p.sink(n)
		if err != nil {
			return nil, err
		}
		line, _ := yamlfile.Position(n)
		if old := seen[s.Name]; old > 0 {
			return nil, p.At(n, "a name is where a sink's cursors are kept", "%q is already a sink, at line %d", s.Name, old)
		}
		seen[s.Name] = line
		t.Specs = append(t.Specs, s)
	}
	return t, nil
}

type parser struct {
	yamlfile.File
	about About
}

var sinkName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

func (p *parser) sink(n ast.Node) (sink.Spec, error) {
	s := sink.Spec{
		Batch: 500, Attempts: 5, OnRefused: sink.SetAside, Timeout: 30 * time.Second, FirstWait: 500 * time.Millisecond, MostWait: time.Minute,
	}
	var kinds []ast.Node
	receiver := func(kind string, read func(ast.Node, *sink.Spec) error) func(ast.Node) error {
		return func(n ast.Node) error {
			kinds, s.Kind = append(kinds, n), kind
			return read(n, &s)
		}
	}
	err := p.Mapping(n, []string{"name"}, yamlfile.Fields{
		"name": func(n ast.Node) (err error) {
			if s.Name, err = p.Text(n); err == nil && !sinkName.MatchString(s.Name) {
				err = p.At(n, "lower-case letters, digits and hyphens, at most 40", "%q is no name", s.Name)
			}
			return err
		},
		"tenants": func(n ast.Node) (err error) {
			if w, ok := n.(*ast.StringNode); ok && w.Value == "all" {
				return nil
			}
			if _, ok := n.(*ast.SequenceNode); !ok {
				return p.At(n, "platform is the operator's own log", "tenants: want all, or a list of short names")
			}
			s.Tenants, err = p.Texts(n)
			return err
		},
		"filter":   func(n ast.Node) error { return p.filter(n, &s.Filter) },
		"personal": func(n ast.Node) (err error) { s.Personal, err = p.Bool(n); return err },
		"from": func(n ast.Node) error {
			w, err := p.Word(n, "now", "first")
			s.FromFirst = w == "first"
			return err
		},
		"batch":    func(n ast.Node) (err error) { s.Batch, err = p.Number(n, 1, 5000); return err },
		"attempts": func(n ast.Node) (err error) { s.Attempts, err = p.Number(n, 1, 100); return err },
		"on_refused": func(n ast.Node) error {
			w, err := p.Word(n, string(sink.SetAside), string(sink.Halt))
			s.OnRefused = sink.OnRefused(w)
			return err
		},
		"timeout": func(n ast.Node) (err error) {
			s.Timeout, err = p.Duration(n, 100*time.Millisecond, 10*time.Minute)
			return err
		},
		"retry": func(n ast.Node) error {
			return p.Mapping(n, nil, yamlfile.Fields{
				"first": func(n ast.Node) (err error) {
					s.FirstWait, err = p.Duration(n, 10*time.Millisecond, time.Minute)
					return err
				},
				"most": func(n ast.Node) (err error) {
					s.MostWait, err = p.Duration(n, 10*time.Millisecond, time.Hour)
					return err
				},
			})
		},
		"syslog":     receiver("syslog", p.syslog),
		"splunk_hec": receiver("splunk_hec", p.hec),
		"otlp":       receiver("otlp", p.otlp),
		"webhook":    receiver("webhook", p.webhook),
	})
	switch {
	case err != nil:
		return s, err
	case len(kinds) != 1:
		return s, p.At(n, "", "sink %q: want exactly one of syslog, splunk_hec, otlp, webhook", s.Name)
	case s.MostWait < s.FirstWait:
		return s, p.At(n, "", "sink %q: retry: most is less than first", s.Name)
	}
	// Its files are read now, so that a bad one is refused with its line.
	sender, err := s.Open()
	if err != nil {
		return s, p.At(kinds[0], "", "sink %q: %v", s.Name, err)
	}
	sender.Close()
	// A sink is another one when its entry is, wherever it stands in the file.
	sum := sha256.Sum256([]byte(n.String()))
	s.Digest = hex.EncodeToString(sum[:])
	return s, nil
}

func (p *parser) filter(n ast.Node, f *sink.Filter) error {
	return p.Mapping(n, nil, yamlfile.Fields{
		"types": func(n ast.Node) error {
			var known []string
			for _, t := range audit.Types() {
				known = append(known, string(t))
			}
			list, err := p.Words(n, known...)
			for _, w := range list {
				f.Types = append(f.Types, audit.Type(w))
			}
			return err
		},
		"severity": func(n ast.Node) error {
			w, err := p.Word(n, string(audit.Info), string(audit.Warning), string(audit.High), string(audit.Critical))
			f.Severity = audit.Severity(w)
			return err
		},
		"outcomes": func(n ast.Node) error {
			list, err := p.Words(n, string(audit.Success), string(audit.Refused), string(audit.Failed), string(audit.Intent), string(audit.Unknown))
			for _, w := range list {
				f.Outcomes = append(f.Outcomes, audit.Outcome(w))
			}
			return err
		},
	})
}

// path reads the name of a file that is there now.
func (p *parser) path(n ast.Node) (string, error) {
	s, err := p.Text(n)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(s); err != nil || info.IsDir() {
		return "", p.At(n, "", "there is no file %s", s)
	}
	return s, nil
}
