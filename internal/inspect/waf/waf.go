// Package waf puts Coraza with the OWASP Core Rule Set before chosen routes. It
// costs one to two milliseconds for a small request and takes HTML-free maths
// and code for attacks often (see docs/DETECTION.md), so it is an opt-in per
// route. It must never see bodies that hold prompts: there SQL and script are
// topics. The caller decides which routes those are, and uses SkipBody or no WAF
// at all for them.
//
// A fault refuses: an error from Inspect means the request does not go on.
package waf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Options make a WAF. A zero field means its default.
type Options struct {
	RulesFiles []string // SecLang files of the operator, read after the Core Rule Set
	NoCoreSet  bool     // only RulesFiles
	Paranoia   int      // 1 (default) to 4
	Threshold  int      // inbound anomaly score that blocks; default 5, one critical rule
	BodyLimit  int      // bytes of a body; more is refused; default 128 KiB
	Concurrent int      // inspections at once; default 64
}

// WAF inspects requests. It is safe for concurrent use and holds no goroutine.
type WAF struct {
	engine    coraza.WAF
	bodyLimit int
	slots     chan struct{}
}

// New loads and checks all rules. An error of a rule names its file and line.
func New(o Options) (*WAF, error) {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Paranoia, 1)
	set(&o.Threshold, 5)
	set(&o.BodyLimit, 128<<10)
	set(&o.Concurrent, 64)
	switch {
	case o.Paranoia < 1 || o.Paranoia > 4:
		return nil, fmt.Errorf("load waf: paranoia %d is not between 1 and 4", o.Paranoia)
	case o.Threshold < 1 || o.BodyLimit < 1 || o.Concurrent < 1:
		return nil, errors.New("load waf: threshold, body limit and concurrency must be positive")
	case o.NoCoreSet && len(o.RulesFiles) == 0:
		return nil, errors.New("load waf: neither the core rule set nor a rules file")
	}
	engine, err := load(o)
	if err != nil {
		return nil, err
	}
	return &WAF{engine: engine, bodyLimit: o.BodyLimit, slots: make(chan struct{}, o.Concurrent)}, nil
}

// Decision is the answer for one request. Rules are for operators and the
// audit event, never for the client.
type Decision struct {
	Blocked bool
	Rule    int    // the id of the rule that interrupted
	Action  string // deny, drop, redirect
	Status  int    // what the rule asks for; the edge may answer otherwise
	Rules   []int  // ids of rules with a message that matched, sorted
}

// Err is nil for a request that may go on and the refusal otherwise. Its words
// say nothing about the rule.
func (d Decision) Err() error {
	if !d.Blocked {
		return nil
	}
	return fault.Wrap(fmt.Errorf("waf rule %d", d.Rule), fault.Forbidden, "the request was refused by the firewall of this route")
}

// SkipBody inspects the request line and the headers only.
const SkipBody = true

// Inspect decides on a request: its line, its headers and, unless skipBody, its
// body, which is read up to the limit and given back to r unread. remote is the
// client's address as the edge sees it. Errors: too_large, unavailable when ctx
// ends while all places are taken, internal for a fault of the engine. None of
// them lets the request on.
func (w *WAF) Inspect(ctx context.Context, r *http.Request, remote net.Addr, skipBody bool) (d Decision, err error) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return Decision{}, fault.Wrap(ctx.Err(), fault.Unavailable, "the firewall of this route is busy")
	}
	defer func() {
		if p := recover(); p != nil { // a rule or a transformation that fails must not open the door
			d, err = Decision{}, fault.Wrap(fmt.Errorf("waf: %v", p), fault.Internal, "the request could not be inspected")
		}
	}()
	var body []byte
	if !skipBody {
		if body, err = w.body(r); err != nil {
			return Decision{}, err
		}
	}
	tx := w.engine.NewTransaction()
	defer func() {
		tx.ProcessLogging()
		if e := tx.Close(); e != nil && err == nil {
			d, err = Decision{}, fault.Wrap(e, fault.Internal, "the request could not be inspected")
		}
	}()
	if tx.IsRuleEngineOff() {
		return Decision{}, fault.New(fault.Internal, "the request could not be inspected")
	}
	in, err := feed(tx, r, remote, body)
	if err != nil {
		return Decision{}, fault.Wrap(err, fault.Internal, "the request could not be inspected")
	}
	for _, m := range tx.MatchedRules() {
		if m.Message() != "" {
			d.Rules = append(d.Rules, m.Rule().ID())
		}
	}
	slices.Sort(d.Rules)
	d.Rules = slices.Compact(d.Rules)
	if in != nil {
		d.Blocked, d.Rule, d.Action, d.Status = true, in.RuleID, in.Action, in.Status
	}
	return d, nil
}

func (w *WAF) body(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > int64(w.bodyLimit) {
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes", w.bodyLimit)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(w.bodyLimit)+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the body could not be read")
	}
	if len(body) > w.bodyLimit {
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes", w.bodyLimit)
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), r.Body}
	return body, nil
}

func feed(tx types.Transaction, r *http.Request, remote net.Addr, body []byte) (*types.Interruption, error) {
	host, port := "", 0
	if remote != nil {
		h, p, err := net.SplitHostPort(remote.String())
		if err == nil {
			host = h
			port, _ = strconv.Atoi(p)
		}
	}
	tx.ProcessConnection(host, port, "", 0)
	tx.ProcessURI(r.URL.RequestURI(), r.Method, r.Proto)
	for k, values := range r.Header {
		for _, v := range values {
			tx.AddRequestHeader(k, v)
		}
	}
	// net/http moves these two out of the header
	if r.Host != "" {
		tx.AddRequestHeader("Host", r.Host)
		tx.SetServerName(r.Host)
	}
	for _, te := range r.TransferEncoding {
		tx.AddRequestHeader("Transfer-Encoding", te)
	}
	if r.ContentLength > 0 && r.Header.Get("Content-Length") == "" {
		tx.AddRequestHeader("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if in := tx.ProcessRequestHeaders(); in != nil {
		return in, nil
	}
	if len(body) > 0 {
		in, n, err := tx.WriteRequestBody(body)
		if in != nil || err != nil {
			return in, err
		}
		if n != len(body) {
			return nil, fmt.Errorf("inspected %d of %d bytes", n, len(body))
		}
	}
	return tx.ProcessRequestBody()
}
