package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

func (a *API) proofs() {
	register(a, op{method: "GET", path: "/v1/audit/checkpoint", id: "get-audit-checkpoint", summary: "The audit log's signed size and root, and the keys to check it with", action: policy.AuditProve, class: "expensive"},
		func(ctx context.Context, x *gateway.Exchange, _ *Empty) (*Out[audit.Published], error) {
			p, err := x.Room.Log().Checkpoint(ctx)
			if err != nil {
				return nil, err
			}
			return &Out[audit.Published]{p}, nil
		})

	type which struct {
		Seq  int64 `query:"seq" minimum:"1" doc:"Prove that this record is under the newest checkpoint"`
		From int64 `query:"from" minimum:"1" doc:"With to: prove that the log of this size is a prefix of the log of that size"`
		To   int64 `query:"to" minimum:"1" doc:"Default the newest checkpoint's size"`
	}
	// Proof is one of the two.
	type Proof struct {
		Inclusion   *audit.Inclusion   `json:"inclusion,omitempty"`
		Consistency *audit.Consistency `json:"consistency,omitempty"`
	}
	register(a, op{method: "GET", path: "/v1/audit/proof", id: "get-audit-proof", summary: "Prove a record (seq) or the log's growth (from, to), RFC 6962", action: policy.AuditProve, class: "expensive"},
		func(ctx context.Context, x *gateway.Exchange, in *which) (*Out[Proof], error) {
			var out Proof
			switch q := x.Request.URL.Query(); {
			case q.Has("seq") == (q.Has("from") || q.Has("to")):
				return nil, fault.New(fault.Unprocessable, "want seq, or from and to")
			case q.Has("seq"):
				p, err := x.Room.Log().Inclusion(ctx, in.Seq)
				if err != nil {
					return nil, err
				}
				out.Inclusion = &p
			default:
				p, err := x.Room.Log().Consistency(ctx, in.From, in.To)
				if err != nil {
					return nil, err
				}
				out.Consistency = &p
			}
			return &Out[Proof]{out}, nil
		})
}

func (a *API) exports() {
	type exportOf struct {
		Selection
		Format  string `query:"format" enum:"jsonl,csv,ocsf" default:"jsonl"`
		Checked bool   `query:"checked" default:"true" doc:"Read every record and hold it against the signed tree, cutting the export where one does not fit. false goes by the indices for filters: faster, and only as complete as they are"`
	}
	register(a, op{method: "GET", path: "/v1/audit/export", id: "export-audit-events", summary: "Stream the audit log as JSON lines that verify, CSV, or OCSF 1.2 JSON lines",
		action: policy.AuditExport, class: "expensive", timeout: -1},
		func(ctx context.Context, x *gateway.Exchange, in *exportOf) (*huma.StreamResponse, error) {
			q, err := in.query()
			if err != nil {
				return nil, err
			}
			q.Unchecked = !in.Checked
			media, name := "application/x-ndjson", "audit.jsonl"
			switch in.Format {
			case "csv":
				media, name = "text/csv; charset=utf-8; header=present", "audit.csv"
				if q.After > 0 { // the rest of a file
					media = "text/csv; charset=utf-8; header=absent"
				}
			case "ocsf":
				name = "audit.ocsf.jsonl"
			}
			what := map[string]any{"what": "audit log", "format": in.Format, "after": q.After, "query": x.Request.URL.RawQuery}
			return leave(ctx, x, what, media, name, func(w io.Writer) error {
				_, _, err := x.Room.Log().Export(x.Request.Context(), w, audit.Format(in.Format), q)
				return err
			})
		})

	type rangeOf struct {
		From     time.Time `query:"from" doc:"RFC 3339"`
		To       time.Time `query:"to" doc:"RFC 3339, exclusive"`
		FromSeq  int64     `query:"from_seq" minimum:"1" doc:"First record by number"`
		ToSeq    int64     `query:"to_seq" minimum:"1" doc:"Last record by number"`
		Since    int64     `query:"since" minimum:"1" doc:"Size of an earlier checkpoint that you kept; the bundle then proves that the log only grew"`
		Personal bool      `query:"personal" default:"true" doc:"false leaves names, addresses and user agents as commitments"`
	}
	register(a, op{method: "GET", path: "/v1/audit/bundle", id: "get-audit-bundle", summary: "One file with a range of the log and all that proves it offline",
		action: policy.AuditExport, class: "expensive", timeout: -1},
		func(ctx context.Context, x *gateway.Exchange, in *rangeOf) (*huma.StreamResponse, error) {
			r := audit.Range{From: in.FromSeq, To: in.ToSeq, FromTime: in.From, ToTime: in.To, Since: in.Since, WithoutDisclosures: !in.Personal}
			if r.To > 0 && r.From > r.To {
				return nil, fault.New(fault.Unprocessable, "from_seq is beyond to_seq")
			}
			what := map[string]any{"what": "audit proof bundle", "query": x.Request.URL.RawQuery}
			return leave(ctx, x, what, "application/x-ndjson", "audit.bundle", func(w io.Writer) error {
				return x.Room.Log().Bundle(x.Request.Context(), w, r)
			})
		})
}

// writeTime is how long a reader of a stream may leave a piece unread.
const writeTime = 30 * time.Second

// leave lets data out between an intent, durable before the first byte, and an
// outcome that says how many bytes left. A stream that breaks is cut, so that half a file cannot pass for the whole.
func leave(ctx context.Context, x *gateway.Exchange, what map[string]any, media, name string, write func(io.Writer) error) (*huma.StreamResponse, error) {
	ev := x.Event(audit.DataExported, "audit")
	ev.Severity, ev.Details = audit.Warning, what
	return &huma.StreamResponse{Body: func(huma.Context) {
		s := &stream{x: x, media: media, name: name, control: http.NewResponseController(x.Writer)}
		_, err := x.Room.Act(ctx, ev, func(context.Context) (audit.Outcome, map[string]any, error) {
			x.Settle()
			err := write(s)
			return "", map[string]any{"bytes": s.sent}, err
		})
		switch {
		case err == nil && !s.begun:
			s.begin()
			x.Writer.WriteHeader(http.StatusOK)
		case err != nil && !s.begun:
			x.Refuse(err)
		case err != nil:
			x.Fail(gateway.Public(err))
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// stream is an answer whose headers wait for its first byte.
type stream struct {
	x           *gateway.Exchange
	media, name string
	control     *http.ResponseController
	begun       bool
	sent        int64
}

func (s *stream) begin() {
	s.begun = true
	h := s.x.Writer.Header()
	h.Set("Content-Type", s.media)
	h.Set("Content-Disposition", `attachment; filename="`+s.name+`"`)
}

func (s *stream) Write(b []byte) (int, error) {
	if !s.begun {
		s.begin()
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	n, err := s.x.Writer.Write(b)
	s.sent += int64(n)
	return n, err
}
