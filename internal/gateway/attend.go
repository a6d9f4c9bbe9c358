package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

const (
	attendEvery = 500 * time.Millisecond
	// attendBlind is how long an exchange goes on while nobody can tell whether
	// its bearer still stands: a restart of the database cuts no stream, and
	// taking the database away does not keep a revoked one alive.
	attendBlind = 10 * time.Second
)

// attendance ends exchanges whose bearer no longer stands. Every other request
// is judged once, when it comes; a WebSocket, a stream of events or an export
// would outlive by hours the suspension that was to stop it.
type attendance struct {
	mu sync.Mutex
	of map[*attendee]struct{}
}

type attendee struct {
	principal authn.Principal
	tls       *tls.ConnectionState
	came      time.Time
	stood     time.Time // when last known to stand
	end       context.CancelCauseFunc
}

// attend has x's bearer asked for again until leave. Where he falls, x ends by
// its request's context.
func (g *Gateway) attend(x *Exchange) (leave func()) {
	ctx, end := context.WithCancelCause(x.Request.Context())
	at := &attendee{principal: x.Principal, tls: x.Request.TLS, came: x.Start, stood: x.Start, end: end}
	x.Request = x.Request.WithContext(ctx)
	a := &g.attendance
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[at] = struct{}{}
	return func() {
		a.mu.Lock()
		delete(a.of, at)
		a.mu.Unlock()
		end(nil)
	}
}

// fallen is why attendance ended x, or nil.
func (x *Exchange) fallen() *fault.Error {
	var f *fault.Error
	if errors.As(context.Cause(x.Request.Context()), &f) {
		return f
	}
	return nil
}

func (g *Gateway) runAttendance(ctx context.Context) {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.attendAll(ctx)
		}
	}
}

// attendAll asks for whoever has been here since the last round. Several
// streams of one bearer are one question: its answer is remembered for as long.
// Where nobody can tell, the rest of the round is not asked: each question would
// wait for its own time-out, and the round for their sum. The order is another
// one every time, so a question that fails alone does not starve the others.
func (g *Gateway) attendAll(ctx context.Context) {
	now := g.cfg.Now()
	var all []*attendee
	g.attendance.mu.Lock()
	for at := range g.attendance.of {
		if now.Sub(at.came) >= attendEvery {
			all = append(all, at)
		}
	}
	g.attendance.mu.Unlock()
	var away error
	for _, at := range all {
		err := away
		if err == nil {
			err = g.cfg.Auth.Stands(ctx, at.principal, at.tls)
		}
		switch fault.CodeOf(err) {
		case "":
			at.stood = now
		case fault.Unauthorized, fault.Suspended:
			at.end(err)
		default:
			away = err
			if ctx.Err() == nil && now.Sub(at.stood) >= attendBlind {
				at.end(err)
			}
		}
	}
}
