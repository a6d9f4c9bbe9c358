package sinktest

import (
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// HTTP is a receiver over HTTPS.
type HTTP struct {
	*Book
	URL string
	// Before, if not nil, may answer in the receiver's place: true for done.
	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) bool
	server *httptest.Server
}

func newHTTP(t testing.TB, c *Certs, serve http.HandlerFunc) *HTTP {
	t.Helper()
	h := &HTTP{Book: newBook()}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		before := h.before
		h.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		serve(w, r)
	}))
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{c.Server}, MinVersion: tls.VersionTLS12}
	h.server.EnableHTTP2 = true
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.server.StartTLS()
	h.URL = strings.Replace(h.server.URL, "127.0.0.1", "localhost", 1)
	t.Cleanup(h.server.Close)
	return h
}

// Behave puts another handler before the receiver; nil takes it away.
func (h *HTTP) Behave(before func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = before
}

// Body reads a request's body, unpacked.
func Body(r *http.Request) ([]byte, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		in = z
	}
	return io.ReadAll(io.LimitReader(in, 64<<20))
}

// Token is the collector's.
const Token = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0"

// NewHEC is an HTTP Event Collector. With ack, events count when their
// acknowledgement was asked for twice: the first time no indexer has them yet.
func NewHEC(t testing.TB, c *Certs, ack bool) *HTTP {
	t.Helper()
	var mu sync.Mutex
	waiting, asked, next := map[string]map[int64][]func(){}, map[string]int{}, int64(0)
	var h *HTTP
	h = newHTTP(t, c, func(w http.ResponseWriter, r *http.Request) {
		answer := func(status int, v map[string]any) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		}
		if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Splunk "+Token {
			answer(403, map[string]any{"text": "Invalid token", "code": 4})
			return
		}
		channel := r.Header.Get("X-Splunk-Request-Channel")
		if ack && channel == "" {
			answer(400, map[string]any{"text": "Data channel is missing", "code": 10})
			return
		}
		body, err := Body(r)
		if err != nil {
			h.complain("body: %v", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/services/collector/ack":
			var q struct{ Acks []int64 }
			if err := json.Unmarshal(body, &q); err != nil || r.URL.Query().Get("channel") != channel {
				h.complain("ack: %v %s", err, r.URL)
			}
			out := map[string]bool{}
			for _, id := range q.Acks {
				key := fmt.Sprint(channel, id)
				asked[key]++
				done := asked[key] > 1
				out[strconv.FormatInt(id, 10)] = done
				if done {
					for _, f := range waiting[channel][id] {
						f()
					}
					delete(waiting[channel], id)
				}
			}
			answer(200, map[string]any{"acks": out})
		case "/services/collector/event":
			var takes []func()
			dec := json.NewDecoder(strings.NewReader(string(body)))
			for dec.More() {
				var e struct {
					Time       json.Number
					Sourcetype string
					Fields     map[string]string
					Event      struct {
						Tenant, ID string
						Seq        int64
					}
				}
				if err := dec.Decode(&e); err != nil {
					answer(400, map[string]any{"text": "Invalid data format", "code": 6, "invalid-event-number": len(takes)})
					return
				}
				if !regexp.MustCompile(`^\d{10}\.\d{6}$`).MatchString(e.Time.String()) || e.Sourcetype == "" || e.Fields["tenant"] == "" || e.Event.Seq == 0 || e.Event.ID == "" {
					h.complain("event: %+v", e)
				}
				takes = append(takes, func() { h.take(e.Event.Tenant, e.Event.Seq) })
			}
			if len(takes) == 0 {
				answer(400, map[string]any{"text": "No data", "code": 5})
				return
			}
			out := map[string]any{"text": "Success", "code": 0}
			if ack {
				next++
				if waiting[channel] == nil {
					waiting[channel] = map[int64][]func(){}
				}
				waiting[channel][next], out["ackId"] = takes, next
			} else {
				for _, f := range takes {
					f()
				}
			}
			answer(200, out)
		default:
			answer(404, map[string]any{"text": "not found", "code": 404})
		}
	})
	return h
}

// NewOTLP is an OTLP/HTTP receiver. reject, if not nil, says which records it
// rejects by partial success.
func NewOTLP(t testing.TB, c *Certs, reject func(*logs.LogRecord) bool) *HTTP {
	t.Helper()
	var h *HTTP
	h = newHTTP(t, c, func(w http.ResponseWriter, r *http.Request) {
		body, err := Body(r)
		if err != nil || r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			h.complain("request: %v %s %v", err, r.URL, r.Header)
		}
		// On the wire LogsData is ExportLogsServiceRequest.
		var m logs.LogsData
		if err := proto.Unmarshal(body, &m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			h.complain("Protobuf: %v", err)
			w.WriteHeader(400)
			return
		}
		var rejected uint64
		for _, rl := range m.ResourceLogs {
			tenant := attribute(rl.Resource.Attributes, "openclaw.tenant.id").GetStringValue()
			for _, sl := range rl.ScopeLogs {
				for _, rec := range sl.LogRecords {
					if reject != nil && reject(rec) {
						rejected++
						continue
					}
					if rec.TimeUnixNano == 0 || rec.ObservedTimeUnixNano == 0 || rec.SeverityNumber == 0 || rec.EventName == "" || tenant == "" {
						h.complain("record: %v", rec)
					}
					h.take(tenant, attribute(rec.Attributes, "openclaw.audit.seq").GetIntValue())
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		if rejected > 0 {
			partial := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), rejected)
			partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), "not these")
			_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial))
		}
	})
	return h
}

func attribute(list []*common.KeyValue, key string) *common.AnyValue {
	for _, a := range list {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

// NewWebhook is a receiver of CloudEvents that verifies Standard Webhooks
// signatures by a secret (whsec_…).
func NewWebhook(t testing.TB, c *Certs, secret func() string) *HTTP {
	t.Helper()
	var h *HTTP
	h = newHTTP(t, c, func(w http.ResponseWriter, r *http.Request) {
		body, err := Body(r)
		if err != nil {
			h.complain("body: %v", err)
			return
		}
		if err := verify(r.Header, body, secret()); err != nil {
			h.complain("signature: %v", err)
			w.WriteHeader(401)
			return
		}
		var events []map[string]any
		switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media {
		case "application/cloudevents-batch+json":
			err = json.Unmarshal(body, &events)
		case "application/cloudevents+json":
			events = make([]map[string]any, 1)
			err = json.Unmarshal(body, &events[0])
		default:
			err = fmt.Errorf("media type %s", media)
		}
		if err != nil {
			h.complain("%v", err)
			w.WriteHeader(400)
			return
		}
		for _, e := range events {
			if err := cloudEvent(e); err != nil {
				h.complain("%v: %v", err, e)
				continue
			}
			source := e["source"].(string)
			seq := int64(e["data"].(map[string]any)["seq"].(float64))
			h.take(source[strings.LastIndexByte(source, '/')+1:], seq)
		}
		w.WriteHeader(204)
	})
	return h
}

// cloudEvent holds an event to CloudEvents 1.0, sections 3.1 and the JSON format.
func cloudEvent(e map[string]any) error {
	for name, v := range e {
		if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
			return fmt.Errorf("attribute %q", name)
		}
		if _, text := v.(string); !text && name != "data" {
			return fmt.Errorf("%s is no text", name)
		}
	}
	for _, name := range []string{"id", "source", "specversion", "type"} {
		if e[name] == nil || e[name] == "" {
			return fmt.Errorf("no %s", name)
		}
	}
	if _, err := url.Parse(e["source"].(string)); err != nil || e["specversion"] != "1.0" {
		return fmt.Errorf("source or version")
	}
	if _, err := time.Parse(time.RFC3339Nano, e["time"].(string)); err != nil {
		return err
	}
	data, ok := e["data"].(map[string]any)
	if !ok || data["id"] != e["id"] || fmt.Sprintf("%020.0f", data["seq"]) != e["sequence"] {
		return fmt.Errorf("data does not agree")
	}
	return nil
}

// verify follows the Standard Webhooks specification, "Verifying webhook
// authenticity".
func verify(h http.Header, body []byte, secret string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	id, stamp := h.Get("webhook-id"), h.Get("webhook-timestamp")
	sec, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("id %q, timestamp %q", id, stamp)
	}
	if age := time.Since(time.Unix(sec, 0)); age > 5*time.Minute || age < -5*time.Minute {
		return fmt.Errorf("a timestamp %s off", age)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	for one := range strings.SplitSeq(h.Get("webhook-signature"), " ") {
		version, text, _ := strings.Cut(one, ",")
		sum, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(sum, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("none of %q fits", h.Get("webhook-signature"))
}
