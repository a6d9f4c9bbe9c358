package gateway

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// Problem is an RFC 9457 problem document. It says nothing of our insides, and
// nothing that differs between a missing thing and another tenant's.
type Problem struct {
	Type   string        `json:"type" doc:"A URI that names the kind of problem" example:"urn:openclaw:problem:not_found"`
	Title  string        `json:"title" doc:"The HTTP status in words" example:"Not Found"`
	Status int           `json:"status" doc:"The HTTP status" example:"404"`
	Code   fault.Code    `json:"code" doc:"A stable code to switch on" example:"not_found"`
	Detail string        `json:"detail,omitempty" doc:"What happened and what to do"`
	Errors []fault.Field `json:"errors,omitempty" doc:"The parts of the request that were refused"`
}

var statuses = map[fault.Code]int{
	fault.Invalid: 400, fault.Unauthorized: 401, fault.Forbidden: 403, fault.Prompt: 403, fault.SQL: 403, fault.XSS: 403,
	fault.CSRF: 403, fault.Suspended: 403, fault.Blocked: 403, fault.NotFound: 404, fault.NoMethod: 405, fault.Expired: 410, fault.Conflict: 409,
	fault.Stale: 412, fault.TooLarge: 413, fault.MediaType: 415, fault.Unprocessable: 422, fault.RateLimited: 429,
	fault.Budget: 429, fault.Internal: 500, fault.Upstream: 502, fault.Unavailable: 503, fault.NoRecord: 503, fault.Timeout: 504,
}

// StatusOf is the one translation of a fault's code. An unknown code is internal.
func StatusOf(c fault.Code) int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// CodeOf names the kind of an answer that a library made with a bare status.
func CodeOf(status int) fault.Code {
	switch status {
	case 400:
		return fault.Invalid
	case 401:
		return fault.Unauthorized
	case 403:
		return fault.Forbidden
	case 404:
		return fault.NotFound
	case 405:
		return fault.NoMethod
	case 408, 504:
		return fault.Timeout
	case 409:
		return fault.Conflict
	case 412:
		return fault.Stale
	case 413:
		return fault.TooLarge
	case 406, 415:
		return fault.MediaType
	case 422:
		return fault.Unprocessable
	case 429:
		return fault.RateLimited
	case 502:
		return fault.Upstream
	case 503:
		return fault.Unavailable
	}
	if status < 500 {
		return fault.Invalid
	}
	return fault.Internal
}

// Public is what the client learns of an error: the fault's own words, or, for
// anything that is no fault, that it was internal.
func Public(err error) *fault.Error {
	var f *fault.Error
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &big):
		return fault.Wrap(err, fault.TooLarge, "the body is larger than the %d bytes allowed here", big.Limit)
	}
	return fault.Wrap(err, fault.Internal, "something failed here; the request id finds it in the operator's log")
}

// ProblemOf is the document for a fault.
func ProblemOf(f *fault.Error) Problem {
	status := StatusOf(f.Code)
	return Problem{
		Type: "urn:openclaw:problem:" + string(f.Code), Title: http.StatusText(status), Status: status,
		Code: f.Code, Detail: f.Detail, Errors: f.Fields,
	}
}

// problemHeaders sets what goes with a fault beside the document.
func problemHeaders(h http.Header, f *fault.Error) {
	if f.RetryAfter > 0 && h.Get("Retry-After") == "" {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(f.RetryAfter.Seconds())), 10))
	}
	if f.Code == fault.Unauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer realm="openclaw"`) // RFC 6750 section 3, without a hint
	}
}

// writeProblem answers with a fault. json.Marshal escapes <, > and &.
func writeProblem(w http.ResponseWriter, f *fault.Error) {
	p := ProblemOf(f)
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"urn:openclaw:problem:internal","title":"Internal Server Error","status":500,"code":"internal"}`)
		p.Status = 500
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	problemHeaders(h, f)
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
