package file

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/hec"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/otlp"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/syslog"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/webhook"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
	"github.com/Nissimmiracles/openclaw/internal/yamlfile"
)

// secured adds the keys of a TLS connection to a receiver's.
func (p *parser) secured(t *wire.TLS, fields yamlfile.Fields) yamlfile.Fields {
	fields["ca_file"] = func(n ast.Node) (err error) { t.CAFile, err = p.path(n); return err }
	fields["cert_file"] = func(n ast.Node) (err error) { t.CertFile, err = p.path(n); return err }
	fields["key_file"] = func(n ast.Node) (err error) { t.KeyFile, err = p.path(n); return err }
	fields["server_name"] = func(n ast.Node) (err error) { t.ServerName, err = p.Text(n); return err }
	return fields
}

func (p *parser) pair(n ast.Node, t wire.TLS) error {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return p.At(n, "", "cert_file and key_file go together")
	}
	return nil
}

var sdID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,15}@[1-9][0-9]{0,9}(\.[0-9]{1,10})*$`)

// facilities are RFC 5424's, table 1, by their usual names.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func (p *parser) syslog(n ast.Node, s *sink.Spec) error {
	c := syslog.Config{
		Format: syslog.CEF, Facility: 13, Host: p.about.Host, App: "openclaw", Version: p.about.Version, SDID: "openclaw@32473", MaxMessage: 8192,
	}
	var transport ast.Node
	err := p.Mapping(n, []string{"address"}, p.secured(&c.TLS, yamlfile.Fields{
		"address": func(n ast.Node) (err error) {
			if c.Address, err = p.Text(n); err != nil {
				return err
			}
			host, port, err := net.SplitHostPort(c.Address)
			if num, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || num < 1 || num > 65535 {
				return p.At(n, "as in logs.example.com:6514", "address: want a host and a port")
			}
			return nil
		},
		"transport": func(n ast.Node) error {
			transport = n
			w, err := p.Word(n, "tls", "tcp")
			c.Plain = w == "tcp"
			return err
		},
		"format": func(n ast.Node) error {
			w, err := p.Word(n, string(syslog.CEF), string(syslog.JSON))
			c.Format = syslog.Format(w)
			return err
		},
		"facility": func(n ast.Node) error {
			w, err := p.Word(n, facilities...)
			for i, name := range facilities {
				if name == w {
					c.Facility = i
				}
			}
			return err
		},
		"hostname": func(n ast.Node) (err error) { c.Host, err = p.Text(n); return err },
		"app_name": func(n ast.Node) (err error) { c.App, err = p.Text(n); return err },
		"sd_id": func(n ast.Node) (err error) {
			if c.SDID, err = p.Text(n); err == nil && (!sdID.MatchString(c.SDID) || len(c.SDID) > 32) {
				err = p.At(n, "as in openclaw@32473, with your own enterprise number", "sd_id: want a name and a number")
			}
			return err
		},
		"max_message": func(n ast.Node) (err error) { c.MaxMessage, err = p.Number(n, syslog.MinMessage, 1<<20); return err },
		"bom":         func(n ast.Node) error { mark, err := p.Bool(n); c.NoBOM = !mark; return err },
	}))
	if err != nil {
		return err
	}
	if c.Plain && c.TLS != (wire.TLS{}) {
		return p.At(transport, "", "transport tcp has no use for certificates")
	}
	s.To = "syslog+tls://" + c.Address
	if c.Plain {
		s.To = "syslog+tcp://" + c.Address
	}
	s.Open = func() (sink.Sender, error) { return syslog.Open(c) }
	return p.pair(n, c.TLS)
}

// endpoint adds the keys of an HTTP receiver. check is run after all are read.
func (p *parser) endpoint(e *wire.Endpoint, fields yamlfile.Fields) (yamlfile.Fields, func(ast.Node) error) {
	var at ast.Node
	var plain bool
	fields["url"] = func(n ast.Node) (err error) { at = n; e.URL, err = p.Text(n); return err }
	fields["plaintext"] = func(n ast.Node) (err error) { plain, err = p.Bool(n); return err }
	fields["gzip"] = func(n ast.Node) (err error) { e.Gzip, err = p.Bool(n); return err }
	return p.secured(&e.TLS, fields), func(n ast.Node) error {
		if err := wire.CheckURL(e.URL, plain); err != nil {
			return p.At(at, "", "url: %v", err)
		}
		return p.pair(n, e.TLS)
	}
}

func (p *parser) hec(n ast.Node, s *sink.Spec) error {
	c := hec.Config{Endpoint: wire.Endpoint{Gzip: true}, Source: "openclaw", Type: "openclaw:audit", Host: p.about.Host}
	fields, check := p.endpoint(&c.Endpoint, yamlfile.Fields{
		"token_file": func(n ast.Node) (err error) { c.TokenFile, err = p.path(n); return err },
		"index":      func(n ast.Node) (err error) { c.Index, err = p.Text(n); return err },
		"source":     func(n ast.Node) (err error) { c.Source, err = p.Text(n); return err },
		"sourcetype": func(n ast.Node) (err error) { c.Type, err = p.Text(n); return err },
		"host":       func(n ast.Node) (err error) { c.Host, err = p.Text(n); return err },
		"ack":        func(n ast.Node) (err error) { c.Ack, err = p.Bool(n); return err },
	})
	if err := p.Mapping(n, []string{"url", "token_file"}, fields); err != nil {
		return err
	}
	s.To = wire.Host(c.Endpoint.URL)
	s.Open = func() (sink.Sender, error) { return hec.Open(c) }
	return check(n)
}

func (p *parser) otlp(n ast.Node, s *sink.Spec) error {
	c := otlp.Config{Endpoint: wire.Endpoint{Gzip: true}, Service: "openclaw", Version: p.about.Version}
	fields, check := p.endpoint(&c.Endpoint, yamlfile.Fields{
		"headers_file": func(n ast.Node) (err error) { c.HeadersFile, err = p.path(n); return err },
		"service_name": func(n ast.Node) (err error) { c.Service, err = p.Text(n); return err },
	})
	if err := p.Mapping(n, []string{"url"}, fields); err != nil {
		return err
	}
	s.To = wire.Host(c.Endpoint.URL)
	s.Open = func() (sink.Sender, error) { return otlp.Open(c) }
	return check(n)
}

func (p *parser) webhook(n ast.Node, s *sink.Spec) error {
	c := webhook.Config{Source: strings.TrimSuffix(p.about.URL, "/")}
	fields, check := p.endpoint(&c.Endpoint, yamlfile.Fields{
		"secret_file": func(n ast.Node) (err error) { c.SecretFile, err = p.path(n); return err },
		"batched":     func(n ast.Node) (err error) { c.Batched, err = p.Bool(n); return err },
		"source":      func(n ast.Node) (err error) { c.Source, err = p.Text(n); return err },
	})
	if err := p.Mapping(n, []string{"url", "secret_file"}, fields); err != nil {
		return err
	}
	s.To = wire.Host(c.Endpoint.URL)
	s.Open = func() (sink.Sender, error) { return webhook.Open(c) }
	return check(n)
}
