// Package hec sends audit events to Splunk's HTTP Event Collector, with its
// indexer acknowledgement where the receiver has it on.
package hec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

const (
	eventPath = "/services/collector/event"
	ackPath   = "/services/collector/ack"
)

// Config is a collector. Ack waits until an indexer has the events, which may
// take seconds; without it the collector's word is enough.
type Config struct {
	Endpoint  wire.Endpoint // scheme and host; the paths are Splunk's
	TokenFile string
	Index     string // empty: the token's
	Source    string
	Type      string // sourcetype
	Host      string
	Ack       bool
	Poll      time.Duration // between questions about an acknowledgement; 0: 250 ms
}

// Sender is a sink.Sender.
type Sender struct {
	cfg     Config
	client  *wire.Client
	channel string
	body    bytes.Buffer
}

// Open reads the files that the endpoint names.
func Open(cfg Config) (*Sender, error) {
	c, err := wire.NewClient(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 250 * time.Millisecond
	}
	s := &Sender{cfg: cfg, client: c, channel: uuid.NewString()}
	_, err = s.token()
	return s, err
}

// Close lets go of connections.
func (s *Sender) Close() { s.client.Close() }

func (s *Sender) token() (string, error) {
	lines, err := wire.Secrets(s.cfg.TokenFile)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	return lines[0], nil
}

type event struct {
	Time   json.Number `json:"time"` // seconds since the epoch
	Host   string      `json:"host,omitempty"`
	Source string      `json:"source,omitempty"`
	Type   string      `json:"sourcetype,omitempty"`
	Index  string      `json:"index,omitempty"`
	Fields fields      `json:"fields"` // indexed
	Event  body        `json:"event"`
}

type fields struct {
	Tenant   string `json:"tenant"`
	Severity string `json:"severity"`
	Type     string `json:"type"`
}

type body struct {
	Tenant string `json:"tenant"`
	Name   string `json:"tenant_name"`
	audit.Entry
}

// answer is Splunk's; code tells apart what the status does not.
type answer struct {
	Code  int             `json:"code"`
	AckID *int64          `json:"ackId"`
	Acks  map[string]bool `json:"acks"`
}

// Send posts the batch as one body of JSON objects.
func (s *Sender) Send(ctx context.Context, batch []sink.Item) error {
	token, err := s.token()
	if err != nil {
		return sink.Fail(sink.Denied, "%w", err)
	}
	s.body.Reset()
	enc := json.NewEncoder(&s.body)
	enc.SetEscapeHTML(false)
	for i := range batch {
		it := &batch[i]
		at := it.Entry.Time.UnixMicro()
		err := enc.Encode(event{
			Time: json.Number(fmt.Sprintf("%d.%06d", at/1e6, at%1e6)), Host: s.cfg.Host, Source: s.cfg.Source, Type: s.cfg.Type, Index: s.cfg.Index,
			Fields: fields{it.Name, string(it.Entry.Severity), string(it.Entry.Type)}, Event: body{it.Tenant, it.Name, it.Entry},
		})
		if err != nil {
			return &sink.Failure{Kind: sink.Refused, Done: 0, Err: fmt.Errorf("write JSON: %w", err)}
		}
	}
	a, err := s.post(ctx, token, eventPath, "", bytes.Clone(s.body.Bytes()))
	if err != nil {
		return err
	}
	if !s.cfg.Ack {
		return nil
	}
	if a.AckID == nil {
		return sink.Fail(sink.Denied, "the collector gives no acknowledgement id; indexer acknowledgement is off for this token")
	}
	return s.await(ctx, token, *a.AckID)
}

// await asks until the indexers have it. Time up means nobody knows, and what
// nobody knows goes again.
func (s *Sender) await(ctx context.Context, token string, id int64) error {
	question, err := json.Marshal(map[string][]int64{"acks": {id}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		a, err := s.post(ctx, token, ackPath, "channel="+s.channel, bytes.Clone(question))
		if err != nil {
			return err
		}
		if a.Acks[strconv.FormatInt(id, 10)] {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sink.Fail(sink.Temporary, "no indexer acknowledged in time")
		}
	}
}

func (s *Sender) post(ctx context.Context, token, path, query string, body []byte) (answer, error) {
	h := http.Header{"Authorization": {"Splunk " + token}, "Content-Type": {"application/json"}}
	if s.cfg.Ack {
		h.Set("X-Splunk-Request-Channel", s.channel)
	}
	raw, err := s.client.Post(ctx, s.client.At(path, query), body, h)
	if err != nil {
		return answer{}, err
	}
	var a answer
	readable := json.Unmarshal(raw.Body, &a) == nil
	f := raw.Failure()
	switch {
	case f != nil:
		if readable && a.Code > 0 {
			f.Err = fmt.Errorf("%w, code %d", f.Err, a.Code)
			// Splunk's "Format events for HTTP Event Collector", possible error
			// codes: of the 400s only these are about an event. A wrong index (7) or
			// channel (10, 11, 14) is about us.
			if raw.Status == http.StatusBadRequest && a.Code != 5 && a.Code != 6 && a.Code != 12 && a.Code != 13 && a.Code != 15 {
				f.Kind = sink.Denied
			}
		}
		if path == ackPath && f.Kind == sink.Refused {
			f.Kind = sink.Denied // the question holds no event
		}
		return a, f
	case !readable:
		return a, sink.Fail(sink.Denied, "the receiver answered %d and no collector's JSON", raw.Status)
	case a.Code != 0:
		return a, sink.Fail(sink.Temporary, "the collector answered code %d", a.Code)
	}
	return a, nil
}
