package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"crypto/tls"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// hand sets a clock forward and back.
type hand struct{ seconds atomic.Int64 }

// now is time.Now after somebody set the machine's clock: the time of day jumps,
// the monotonic reading goes on. Package time offers no way to such a value, so
// its first word is changed in place: seconds since 1885 in 33 bits above 30 bits
// of nanoseconds (time.Time's own comment).
func (h *hand) now() time.Time {
	t := time.Now()
	*(*uint64)(unsafe.Pointer(&t)) += uint64(h.seconds.Load()) << 30
	return t
}

func TestTheHandMovesTheTimeOfDayAlone(t *testing.T) {
	t.Parallel()
	var h hand
	a := h.now()
	h.seconds.Store(-24 * 3600)
	b := h.now()
	if d := b.Sub(a); d < 0 || d > time.Minute {
		t.Errorf("the monotonic clock moved by %s", d)
	}
	if d := b.Round(0).Sub(a.Round(0)); d > -23*time.Hour || d < -25*time.Hour {
		t.Errorf("the time of day moved by %s", d)
	}
}

// serve runs a platform in this process, whose clock the test has in hand.
func (m *machine) serve(t *testing.T, now func() time.Time) (*app.App, *process) {
	t.Helper()
	c, err := app.Load(m.env)
	if err != nil {
		t.Fatal(err)
	}
	c.Now = now
	a, err := app.Build(t.Context(), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	at, ended := make(chan app.Addresses, 1), make(chan error, 1)
	go func() { ended <- a.Serve(ctx, func(x app.Addresses) error { at <- x; return nil }) }()
	p := &process{halt: func() { cancel(); <-ended; a.Close() }}
	t.Cleanup(p.kill)
	select {
	case x := <-at:
		p.addr = "127.0.0.1:" + x.API[strings.LastIndexByte(x.API, ':')+1:]
	case err := <-ended:
		t.Fatal(err)
	}
	p.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13, ServerName: "localhost"},
		MaxIdleConnsPerHost: 32, DialContext: dialer(p.addr),
	}}
	return a, p
}

// to gives the seconds from now to a moment.
func to(year int) int64 {
	return int64(time.Until(time.Date(year, 7, 1, 12, 0, 0, 0, time.UTC)) / time.Second)
}

// tokens is a login's answer.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// The platform's own clock is set by an hour, a day, to 1970 and to 2100 and
// back, while the database's goes right.
func TestThePlatformsClockJumps(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	var h hand
	a, p := m.serve(t, h.now)
	var order []string // request ids of what was acknowledged, in that order
	request := func(q ask) answer {
		t.Helper()
		q.id = "rq-" + strings.ReplaceAll(uuid.NewString(), "-", "")
		got, err := p.send(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got.status >= 500 && q.path != "/v1/auth/login" {
			t.Errorf("%s %s answered %d %.300s", q.method, q.path, got.status, got.body)
		}
		if got.status < 300 && q.method == "POST" {
			order = append(order, q.id)
		}
		return got
	}
	login := func(works bool) (out tokens) {
		t.Helper()
		got := request(ask{method: "POST", path: "/v1/auth/login", body: map[string]string{"tenant": m.plain.name, "email": m.plain.email, "password": goodPassword}})
		if want := map[bool]int{true: 200, false: 503}[works]; got.status != want || works && got.into(&out) != nil {
			t.Fatalf("login answered %d %.300s", got.status, got.body)
		}
		return out
	}
	work := func(token string) int {
		t.Helper()
		got := request(ask{method: "POST", path: "/v1/memories", token: token, body: map[string]any{"text": "what time is it"}})
		act := request(ask{method: "POST", path: "/outside/deed", token: token, body: map[string]any{}})
		read := request(ask{method: "GET", path: "/v1/agents", token: token})
		if (got.status == 201) != (act.status == 200) || (got.status == 201) != (read.status == 200) {
			t.Errorf("a change answers %d, an act %d, a read %d", got.status, act.status, read.status)
		}
		return got.status
	}
	fresh := login(true)
	for _, step := range []struct {
		name    string
		seconds int64
		works   bool // with a token of this clock: sessions end by the database's
		early   bool // its tokens are not valid yet when the clock is right again
		old     int  // what a token of the right time answers
	}{
		{"an hour ahead", 3600, true, true, 201},
		{"an hour behind", -3600, true, false, 401},
		{"a day ahead", 24 * 3600, true, true, 401},
		{"a day behind", -24 * 3600, true, false, 401},
		{"2100", to(2100), true, true, 401},
		{"1970", to(1970), false, false, 401},
	} {
		h.seconds.Store(step.seconds)
		if got := work(fresh.Access); got != step.old {
			t.Errorf("%s: a token of before answers %d, want %d", step.name, got, step.old)
		}
		then := login(step.works)
		if got := work(then.Access); (got == 201) != step.works {
			t.Errorf("%s: a token of the moment answers %d", step.name, got)
		}
		if e, err := a.Store.Expire(t.Context()); err != nil || e.Records != 0 || e.Statements != 0 {
			t.Errorf("%s: retention deleted %+v, %v", step.name, e, err)
		}
		if a.Store.PublishFailures() != 0 {
			t.Errorf("%s: the log is not signed", step.name)
		}
		h.seconds.Store(0)
		if !step.works { // its session had ended by the database's clock before it began
			continue
		}
		// A token of the future is none yet; one of the past has ended.
		got := work(then.Access)
		if (step.early || step.seconds <= -2*3600) && got != 401 {
			t.Errorf("%s: its token answers %d when the clock is right", step.name, got)
		}
		again := request(ask{method: "POST", path: "/v1/auth/refresh", body: map[string]string{"refresh_token": then.Refresh}})
		if far := step.seconds > 90*24*3600 || step.seconds < -90*24*3600; far != (again.status == 401) {
			t.Errorf("%s: its refresh token answers %d when the clock is right", step.name, again.status)
		}
		if got := work(fresh.Access); got != 201 {
			t.Fatalf("after %s: %d", step.name, got)
		}
	}
	now := p.checkpoint(t, m.plain)
	p.stop(t)
	house := m.log(t, "platform", m.keyOf(t, "platform"), now.HouseKey, nil)
	log := m.log(t, m.plain.name, now.Key, now.HouseKey, []kept{now})
	at := map[string]int64{}
	years := map[string]int{}
	for _, r := range log {
		years[r.Body.Time[:4]]++
		if r.Body.Details.Intent == "" && r.Body.RequestID != "" {
			at[r.Body.RequestID] = r.Seq
		}
	}
	for _, r := range house {
		years[r.Body.Time[:4]]++
	}
	last := int64(0)
	for _, id := range order {
		if at[id] <= last {
			t.Errorf("acknowledged after number %d, and number %d", last, at[id])
		}
		last = at[id]
	}
	if years["1970"] == 0 || years["2100"] == 0 {
		t.Errorf("no events of odd times: %v", years)
	}
	t.Logf("%d records, and the house's, by the year they claim: %v; %d acknowledged in order", len(log), years, len(order))
}

// odd is a PostgreSQL whose clock the test has in hand.
func (m *machine) odd(t *testing.T) (set func(seconds int64)) {
	t.Helper()
	lib, file := filepath.Join(m.dir, "clock.so"), filepath.Join(m.dir, "clock.step")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", lib, "testdata/clock.c").CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("no C compiler, so the database's clock cannot be set")
		}
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	set = func(seconds int64) {
		t.Helper()
		if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(seconds)), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	bin := filepath.Join(m.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	real := m.pgc.Binaries.Dir
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s CLOCK_STEP=%s exec %s/postgres \"$@\"\n", lib, file, real)
	for path, mode := range map[string]os.FileMode{lib: 0o755, file: 0o644, bin: 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "postgres"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.pgc.Binaries.Dir = bin
	m.startPG(t)
	return set
}

// The database's clock differs by minutes and by a day under load: nothing is
// noticed. It is wrong by years: nothing is deleted for it, then or later.
func TestTheDatabasesClockJumps(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	set := m.odd(t)
	p := m.spawn(t, nil)
	c := newCrowd(t, m)
	c.serve(p)
	c.begin(everything)
	held := map[*customer][]kept{}
	for _, seconds := range []int64{0, 300, -300, 12 * 3600, -12 * 3600, 0} {
		set(seconds)
		var now time.Time
		if err := m.sql(`SELECT clock_timestamp()`, &now); err != nil {
			t.Fatal(err)
		}
		if d := time.Until(now) - time.Duration(seconds)*time.Second; d.Abs() > time.Minute {
			t.Fatalf("the database's clock is %s from where it was set", d)
		}
		c.forget()
		c.await(25)
		held[m.plain] = append(held[m.plain], p.checkpoint(t, m.plain))
	}
	f, _ := c.judge(p, held)
	t.Logf("answers: %v", c.codes)
	t.Log(f)

	// Years. What is published while the clock is wrong is stamped by it.
	a, p := m.serve(t, time.Now)
	bodies := func() int64 { return m.number(t, `SELECT sum(n) FROM audit_events`) }
	for _, year := range []int{1995, 2016, 2100} {
		set(to(year))
		born := newCustomer(t, a, fmt.Sprintf("born-%d", year)) // whose first checkpoint is of that year
		for _, who := range []*customer{m.plain, born} {
			room, err := a.Identity.Enter(t.Context(), who.name)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := room.Record(t.Context(), audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem}}); err != nil {
					t.Fatalf("%d: %v", year, err)
				}
			}
			if _, err := room.Log().Checkpoint(t.Context()); err != nil { // numbered, signed
				t.Fatalf("%d: %v", year, err)
			}
		}
		was := bodies()
		e, err := a.Store.Expire(t.Context())
		if e.Records != 0 || e.Statements != 0 || bodies() < was {
			t.Errorf("%d: retention deleted %+v", year, e)
		}
		if year == 2100 && (err == nil || !strings.Contains(err.Error(), "clock")) {
			t.Errorf("%d: retention says %v", year, err)
		}
		set(0)
		was = bodies()
		if e, err := a.Store.Expire(t.Context()); err != nil || e.Records != 0 || e.Statements != 0 || bodies() < was {
			t.Errorf("after %d: retention deleted %+v, %v", year, e, err)
		}
	}
	now := p.checkpoint(t, m.plain)
	// Five months on, beyond the partitions that this start made; then one starts
	// that would make that month's.
	set(150 * 24 * 3600)
	if _, err := a.House.Record(t.Context(), audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Actor: audit.Actor{Kind: audit.ActorSystem}}); err != nil {
		t.Fatal(err)
	}
	set(90 * 24 * 3600)
	p.stop(t)
	m.spawn(t, nil).stop(t)
	set(0)
	m.log(t, m.plain.name, now.Key, now.HouseKey, append(held[m.plain], now))
	if n := m.number(t, `SELECT count(*) FROM audit_events_other`); n == 0 {
		t.Error("no row is in the partition of odd times")
	}
}
