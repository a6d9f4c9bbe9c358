package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// standing answers for everybody with one error.
type standing struct {
	callers
	err   error
	asked int
}

func (s *standing) Stands(context.Context, authn.Principal, *tls.ConnectionState) error {
	s.asked++
	return s.err
}

// Who falls is cut in the next round. Who cannot be asked about goes on for as
// long as a database takes to restart, and no longer.
func TestAttendance(t *testing.T) {
	t.Parallel()
	away := errors.New("the database is away")
	type step struct {
		after time.Duration // since the exchange began
		err   error
		cut   bool
	}
	for name, steps := range map[string][]step{
		"stands":                  {{time.Second, nil, false}, {time.Hour, nil, false}},
		"falls":                   {{time.Second, nil, false}, {2 * time.Second, fault.New(fault.Unauthorized, "out"), true}},
		"its tenant is suspended": {{time.Second, fault.New(fault.Suspended, "out"), true}},
		"too young to ask":        {{attendEvery - 1, fault.New(fault.Unauthorized, "out"), false}, {attendEvery, fault.New(fault.Unauthorized, "out"), true}},
		"a restart":               {{time.Second, away, false}, {attendBlind - 1, away, false}, {attendBlind, nil, false}, {2*attendBlind - 1, away, false}, {2 * attendBlind, away, true}},
		"nobody was ever told":    {{attendBlind, away, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			now, auth := began, &standing{}
			g := &Gateway{cfg: Config{Auth: auth, Now: func() time.Time { return now }}, attendance: attendance{of: map[*attendee]struct{}{}}}
			x := &Exchange{Request: httptest.NewRequest("GET", "/", nil), Start: began}
			leave := g.attend(x)
			for _, s := range steps {
				now, auth.err = began.Add(s.after), s.err
				g.attendAll(t.Context())
				if got := x.Request.Context().Err() != nil; got != s.cut {
					t.Fatalf("after %s: cut %v", s.after, got)
				}
				if _, isFault := s.err.(*fault.Error); s.cut && isFault && x.fallen() != s.err {
					t.Errorf("after %s it fell for %v", s.after, x.fallen())
				}
			}
			if leave(); len(g.attendance.of) != 0 || x.Request.Context().Err() == nil {
				t.Error("who left is still attended to")
			}
		})
	}
}

// A database that is away is asked once a round, however many streams there
// are, and all of them end in time.
func TestAttendanceWhileNobodyCanTell(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now, auth := began, &standing{err: fault.New(fault.Unavailable, "away")}
	g := &Gateway{cfg: Config{Auth: auth, Now: func() time.Time { return now }}, attendance: attendance{of: map[*attendee]struct{}{}}}
	var all []*Exchange
	for range 100 {
		x := &Exchange{Request: httptest.NewRequest("GET", "/", nil), Start: began}
		defer g.attend(x)()
		all = append(all, x)
	}
	for i, after := range []time.Duration{time.Second, attendBlind - 1, attendBlind} {
		now = began.Add(after)
		if g.attendAll(t.Context()); auth.asked != i+1 {
			t.Errorf("after %s: asked %d times in %d rounds", after, auth.asked, i+1)
		}
	}
	for i, x := range all {
		if f := x.fallen(); f == nil || f.Code != fault.Unavailable {
			t.Fatalf("stream %d ended for %v", i, f)
		}
	}
}
