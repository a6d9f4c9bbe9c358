// Package otlp sends audit events as OpenTelemetry log records, OTLP 1 over HTTP
// with binary Protobuf.
package otlp

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

// Config is a receiver: the whole URL, as in https://collector:4318/v1/logs.
// HeadersFile holds lines "Name: value" for its authentication.
type Config struct {
	Endpoint    wire.Endpoint
	HeadersFile string
	Service     string
	Version     string
	Now         func() time.Time
}

// Sender is a sink.Sender.
type Sender struct {
	cfg    Config
	client *wire.Client
}

// Open reads the files that the endpoint names.
func Open(cfg Config) (*Sender, error) {
	c, err := wire.NewClient(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sender{cfg, c}
	_, err = s.headers()
	return s, err
}

// Close lets go of connections.
func (s *Sender) Close() { s.client.Close() }

func (s *Sender) headers() (http.Header, error) {
	h := http.Header{}
	if s.cfg.HeadersFile == "" {
		return h, nil
	}
	lines, err := wire.Secrets(s.cfg.HeadersFile)
	if err != nil {
		return nil, sink.Fail(sink.Denied, "headers_file: %w", err)
	}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			return nil, sink.Fail(sink.Denied, "headers_file: want lines as in Authorization: Bearer …")
		}
		h.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

// Send exports the batch.
//
// A partial success (the specification's "Partial Success") says how many
// records were rejected and not which. The same request is never sent again, as
// the specification demands; its records go one by one, so that the rejected
// ones are known and nothing is lost without a trace.
func (s *Sender) Send(ctx context.Context, batch []sink.Item) error {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.request(batch))
	if err != nil {
		return sink.Fail(sink.Refused, "write Protobuf: %w", err)
	}
	h, err := s.headers()
	if err != nil {
		return err
	}
	h.Set("Content-Type", "application/x-protobuf")
	a, err := s.client.Post(ctx, s.client.URL(), body, h)
	if err != nil {
		return err
	}
	if f := a.Failure(); f != nil {
		return f
	}
	rejected, ok := rejectedRecords(a.Body)
	switch {
	case !ok:
		return sink.Fail(sink.Denied, "the receiver answered %d and no OTLP response", a.Status)
	case rejected > 0:
		f := sink.Fail(sink.Refused, "the receiver rejected %d of %d records", rejected, len(batch))
		f.Final = len(batch) == 1
		return f
	}
	return nil
}

// rejectedRecords reads ExportLogsServiceResponse: field 1 is
// ExportLogsPartialSuccess, whose field 1 is rejected_log_records. The generated
// type lies in a package that brings a gateway and a gRPC client with it.
func rejectedRecords(b []byte) (n int64, ok bool) {
	partial, ok := field(b, 1, protowire.BytesType)
	if !ok || partial == nil {
		return 0, ok
	}
	inner, size := protowire.ConsumeBytes(partial)
	if size < 0 {
		return 0, false
	}
	count, ok := field(inner, 1, protowire.VarintType)
	if !ok || count == nil {
		return 0, ok
	}
	v, size := protowire.ConsumeVarint(count)
	return int64(v), size >= 0
}

// field finds the last field of a number and type; nil: there is none. Every
// other field has to be well-formed.
func field(b []byte, want protowire.Number, typ protowire.Type) (found []byte, ok bool) {
	for len(b) > 0 {
		num, t, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, t, b)
		if size < 0 {
			return nil, false
		}
		if num == want && t == typ {
			found = b[:size]
		}
		b = b[size:]
	}
	return found, true
}

// request is an ExportLogsServiceRequest: on the wire it and LogsData are the
// same message, resource_logs in field 1.
func (s *Sender) request(batch []sink.Item) *logs.LogsData {
	out := &logs.LogsData{}
	byTenant := map[string]*logs.ScopeLogs{}
	now := uint64(s.cfg.Now().UnixNano())
	for i := range batch {
		it := &batch[i]
		of := byTenant[it.Tenant]
		if of == nil {
			of = &logs.ScopeLogs{Scope: &common.InstrumentationScope{Name: "openclaw/audit", Version: s.cfg.Version}}
			byTenant[it.Tenant] = of
			out.ResourceLogs = append(out.ResourceLogs, &logs.ResourceLogs{
				Resource: &resource.Resource{Attributes: []*common.KeyValue{
					text("service.name", s.cfg.Service), text("service.version", s.cfg.Version),
					text("openclaw.tenant.id", it.Tenant), text("openclaw.tenant.name", it.Name),
				}},
				ScopeLogs: []*logs.ScopeLogs{of},
			})
		}
		of.LogRecords = append(of.LogRecords, record(&it.Entry, now))
	}
	return out
}

// numbers are the log data model's.
var numbers = map[audit.Severity]logs.SeverityNumber{
	audit.Info: logs.SeverityNumber_SEVERITY_NUMBER_INFO, audit.Warning: logs.SeverityNumber_SEVERITY_NUMBER_WARN,
	audit.High: logs.SeverityNumber_SEVERITY_NUMBER_ERROR, audit.Critical: logs.SeverityNumber_SEVERITY_NUMBER_FATAL,
}

func record(e *audit.Entry, now uint64) *logs.LogRecord {
	r := &logs.LogRecord{
		TimeUnixNano: uint64(e.Time.UnixNano()), ObservedTimeUnixNano: now,
		SeverityNumber: numbers[e.Severity], SeverityText: string(e.Severity),
		EventName: "openclaw.audit." + strings.ToLower(string(e.Type)), Body: textValue(string(e.Type)),
		Attributes: []*common.KeyValue{
			{Key: "openclaw.audit.seq", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: e.Seq}}},
		},
	}
	for _, a := range [...]struct{ name, value string }{
		{"log.record.uid", e.ID.String()}, {"openclaw.audit.outcome", string(e.Outcome)}, {"openclaw.audit.action", e.Action},
		{"openclaw.audit.resource", e.Resource}, {"openclaw.audit.reason", e.Reason}, {"openclaw.audit.actor.kind", string(e.Actor.Kind)},
		{"user.id", e.Actor.ID}, {"user.name", e.Actor.Name}, {"client.address", e.IP}, {"user_agent.original", e.UserAgent},
		{"openclaw.request.id", e.RequestID}, {"openclaw.policy.hash", e.PolicyHash}, {"openclaw.audit.leaf", e.Leaf},
	} {
		if a.value != "" {
			r.Attributes = append(r.Attributes, text(a.name, a.value))
		}
	}
	if v := details(e.Details); v != nil {
		r.Attributes = append(r.Attributes, &common.KeyValue{Key: "openclaw.audit.details", Value: v})
	}
	return r
}

// details are JSON of one level: texts, booleans, integers, lists of texts.
// Anything else is given as its text.
func details(raw json.RawMessage) *common.AnyValue {
	var m map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil || len(m) == 0 {
		return nil
	}
	list := &common.KeyValueList{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list.Values = append(list.Values, &common.KeyValue{Key: valid(name), Value: plain(m[name])})
	}
	return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: list}}
}

func plain(raw json.RawMessage) *common.AnyValue {
	var b bool
	var n int64
	var s string
	var list []string
	switch {
	case json.Unmarshal(raw, &s) == nil:
		return textValue(s)
	case json.Unmarshal(raw, &b) == nil:
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: b}}
	case json.Unmarshal(raw, &n) == nil:
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}
	case json.Unmarshal(raw, &list) == nil:
		a := &common.ArrayValue{}
		for _, s := range list {
			a.Values = append(a.Values, textValue(s))
		}
		return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: a}}
	}
	return textValue(string(raw))
}

func text(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: textValue(value)}
}

func textValue(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: valid(s)}}
}

// valid: Protobuf refuses a whole request over one text that is no UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
