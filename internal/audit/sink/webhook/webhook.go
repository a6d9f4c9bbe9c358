// Package webhook sends audit events as CloudEvents 1.0 in their JSON format,
// signed as Standard Webhooks say: one event a request, or batches.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

// Config is a webhook. SecretFile holds one secret, or two while they change:
// each signs.
type Config struct {
	Endpoint   wire.Endpoint
	SecretFile string
	Batched    bool   // application/cloudevents-batch+json
	Source     string // URI of this installation; the tenant's path follows
	Now        func() time.Time
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
	if _, err := readKeys(cfg.SecretFile); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg, c}, nil
}

// Close lets go of connections.
func (s *Sender) Close() { s.client.Close() }

// Send posts the batch, or each event of it in turn.
func (s *Sender) Send(ctx context.Context, batch []sink.Item) error {
	keys, err := readKeys(s.cfg.SecretFile)
	if err != nil {
		return sink.Fail(sink.Denied, "secret_file: %w", err)
	}
	if s.cfg.Batched {
		events := make([]Event, len(batch))
		for i := range batch {
			events[i] = s.event(&batch[i])
		}
		// The same batch has the same id when it is sent again.
		ids := make([]byte, 0, 16*len(batch))
		for i := range batch {
			ids = append(ids, batch[i].Entry.ID[:]...)
		}
		return s.post(ctx, keys, uuid.NewSHA1(uuid.NameSpaceURL, ids), "application/cloudevents-batch+json; charset=utf-8", events)
	}
	for i := range batch {
		if err := s.post(ctx, keys, batch[i].Entry.ID, "application/cloudevents+json; charset=utf-8", s.event(&batch[i])); err != nil {
			var f *sink.Failure
			if !errors.As(err, &f) {
				f = &sink.Failure{Kind: sink.Temporary, Err: err}
			}
			f.Done = i
			return f
		}
	}
	return nil
}

func (s *Sender) post(ctx context.Context, keys [][]byte, id uuid.UUID, media string, what any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(what); err != nil {
		return sink.Fail(sink.Refused, "write JSON: %w", err)
	}
	text := bytes.TrimSuffix(body.Bytes(), []byte("\n"))
	stamp := strconv.FormatInt(s.cfg.Now().Unix(), 10)
	name := "msg_" + id.String()
	a, err := s.client.Post(ctx, s.client.URL(), text, http.Header{
		"Content-Type": {media}, "Webhook-Id": {name}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {Sign(keys, name, stamp, text)},
	})
	if err != nil {
		return err
	}
	if f := a.Failure(); f != nil {
		return f
	}
	return nil
}

// Sign is the webhook-signature header of Standard Webhooks 1.0: for each key
// "v1," and the base64 of HMAC-SHA-256 over id, timestamp and body joined by
// dots.
func Sign(keys [][]byte, id, stamp string, body []byte) string {
	var out []string
	for _, k := range keys {
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// readKeys reads secrets as Standard Webhooks writes them: whsec_ and the base64
// of 24 to 64 bytes.
func readKeys(path string) ([][]byte, error) {
	lines, err := wire.Secrets(path)
	if err != nil {
		return nil, err
	}
	if len(lines) > 2 {
		return nil, fmt.Errorf("%s holds %d secrets, want one, or two while they change", path, len(lines))
	}
	var keys [][]byte
	for _, l := range lines {
		text, ok := strings.CutPrefix(l, "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("%s: want whsec_ and the base64 of 24 to 64 bytes", path)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Event is a CloudEvents 1.0 event. Source and id name it for ever: what is sent
// twice can be told.
type Event struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject,omitempty"`
	Time        string `json:"time"`
	ContentType string `json:"datacontenttype"`
	// Extensions: names of lower-case letters.
	Sequence string      `json:"sequence"` // of the log, twenty digits: its order is the text's
	Tenant   string      `json:"tenant"`   // short name
	Severity string      `json:"severity"`
	Data     audit.Entry `json:"data"`
}

func (s *Sender) event(it *sink.Item) Event {
	e := it.Entry
	return Event{
		SpecVersion: "1.0", ID: e.ID.String(), Source: s.cfg.Source + "/audit/" + it.Tenant,
		Type: "openclaw.audit." + strings.ToLower(string(e.Type)), Subject: e.Resource,
		Time: e.Time.UTC().Format(time.RFC3339Nano), ContentType: "application/json",
		Sequence: fmt.Sprintf("%020d", e.Seq), Tenant: it.Name, Severity: string(e.Severity), Data: e,
	}
}
