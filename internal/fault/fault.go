// Package fault is the closed set of ways in which openclaw says no.
//
// Deep code names the kind; only the edge (package gateway) turns it into a
// status and public words. An error that is not a *fault.Error is internal: its
// text stays inside.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Code is stable: clients switch on it, and it stands in problem documents
// (RFC 9457) as "code".
type Code string

const (
	Invalid       Code = "invalid_request"           // 400
	Unauthorized  Code = "unauthorized"              // 401, one code for every way a credential fails
	Forbidden     Code = "forbidden"                 // 403
	Prompt        Code = "prompt_injection_detected" // 403
	SQL           Code = "sql_injection_detected"    // 403
	XSS           Code = "xss_detected"              // 403
	CSRF          Code = "csrf_token_invalid"        // 403
	Suspended     Code = "tenant_suspended"          // 403
	Blocked       Code = "address_blocked"           // 403
	NotFound      Code = "not_found"                 // 404, also for another tenant's id
	NoMethod      Code = "method_not_allowed"        // 405
	Expired       Code = "expired"                   // 410, deleted after its retention, under a signature
	Conflict      Code = "conflict"                  // 409
	Stale         Code = "precondition_failed"       // 412, optimistic concurrency
	TooLarge      Code = "too_large"                 // 413
	MediaType     Code = "unsupported_media_type"    // 415
	Unprocessable Code = "validation_failed"         // 422
	RateLimited   Code = "rate_limit_exceeded"       // 429
	Budget        Code = "budget_exceeded"           // 429
	Internal      Code = "internal"                  // 500
	Upstream      Code = "upstream_failed"           // 502
	Unavailable   Code = "unavailable"               // 503
	NoRecord      Code = "audit_unavailable"         // 503: no receipt, no effect
	Timeout       Code = "timeout"                   // 504
)

// Field points at one part of a request that was refused.
type Field struct {
	Location string `json:"location"` // e.g. body.name, query.limit
	Message  string `json:"message"`
}

// Error is a refusal or a fault with public words. Detail and Fields go to the
// client; Cause never does.
type Error struct {
	Code       Code
	Detail     string
	Fields     []Field
	RetryAfter time.Duration // > 0 on rate_limit_exceeded and unavailable
	Cause      error
}

// New returns an error of the given kind with public words.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap is New with a cause that stays inside.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), Cause: cause}
}

// Error is for logs; clients see Detail only.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Detail, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Detail)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, fault.New(fault.NotFound, "")) compare by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf names the kind of any error: "" for nil, Internal for an unknown one.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
