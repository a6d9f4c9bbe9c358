package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// What a writer does. Each kind's receipt is another one.
const (
	kindCreate  = "create"
	kindUpdate  = "update"
	kindDelete  = "delete"
	kindAct     = "act"
	kindRefusal = "refusal"
	kindLogin   = "login"
	kindRead    = "read"
)

// asked is one request and what is known of it. Status 0: no answer came, or
// half of one, so it may have been done or not.
type asked struct {
	id, kind string
	tenant   *customer
	status   int
	code     string
	resource string // what was changed
	version  int64  // that the answer named
	again    bool   // a repetition of a create, which may be answered from memory
	alone    bool   // the log must hold exactly one event of it
}

// crowd asks one fleet without end and remembers every answer.
type crowd struct {
	t     testing.TB
	m     *machine
	ctx   context.Context
	ready chan struct{} // closed and made anew when the fleet changes

	mu      sync.Mutex
	fleet   []*process
	asked   map[string]*asked
	created map[string]string // idempotency key: the document
	wanted  map[string]bool   // keys that must have a document in the end
	large   []string          // documents that were made outside the writers
	codes   map[string]int
	refused map[*process]map[string]int // the flood counters of each process
	longest time.Duration
	acks    chan struct{} // one for each acknowledged change

	ending chan struct{} // nothing new is begun
	wg     sync.WaitGroup
	serial int
}

func newCrowd(t testing.TB, m *machine) *crowd {
	t.Helper()
	c := &crowd{
		t: t, m: m, ready: make(chan struct{}), asked: map[string]*asked{}, created: map[string]string{}, wanted: map[string]bool{},
		codes: map[string]int{}, refused: map[*process]map[string]int{}, acks: make(chan struct{}, 1<<20), ending: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	t.Cleanup(func() { cancel(); c.wg.Wait() })
	return c
}

// workload is how many writers of each kind there are.
type workload struct{ create, update, act, refusal, login, read, strict int }

var everything = workload{create: 3, update: 2, act: 3, refusal: 1, login: 1, read: 3, strict: 2}

func (c *crowd) begin(w workload) {
	for range w.create {
		c.go_(c.creates)
	}
	for i := range w.update {
		who := c.m.plain
		if i%2 == 1 {
			who = c.m.strict
		}
		c.go_(func(r *rand.Rand) { c.updates(r, who) })
	}
	for range w.act {
		c.go_(c.acts)
	}
	for range w.refusal {
		c.go_(c.refusals)
	}
	for range w.login {
		c.go_(c.logins)
	}
	for range w.read {
		c.go_(func(r *rand.Rand) { c.reads(r, c.m.plain) })
	}
	for range w.strict {
		c.go_(func(r *rand.Rand) { c.reads(r, c.m.strict) })
	}
}

func (c *crowd) go_(f func(*rand.Rand)) {
	c.serial++
	r := rand.New(rand.NewPCG(uint64(c.serial), 1))
	c.wg.Add(1)
	go func() { defer c.wg.Done(); f(r) }()
}

// end lets every writer finish what it began; a process must be up.
func (c *crowd) end() {
	close(c.ending)
	c.wg.Wait()
}

// serve says which processes there are to ask.
func (c *crowd) serve(ps ...*process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet = slices.Clone(ps)
	close(c.ready)
	c.ready = make(chan struct{})
}

// pick waits for a process to ask; nil when the test is over.
func (c *crowd) pick(r *rand.Rand) *process {
	for {
		c.mu.Lock()
		var p *process
		if n := len(c.fleet); n > 0 {
			p = c.fleet[r.IntN(n)]
		}
		ready := c.ready
		c.mu.Unlock()
		if p != nil {
			return p
		}
		select {
		case <-ready:
		case <-c.ctx.Done():
			return nil
		}
	}
}

func (c *crowd) over() bool {
	select {
	case <-c.ending:
		return true
	case <-c.ctx.Done():
		return true
	default:
		return false
	}
}

// rest is a client's pause after a refusal.
func (c *crowd) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// ask sends one request and keeps what came of it.
func (c *crowd) ask(r *rand.Rand, kind string, who *customer, q ask) (*asked, answer) {
	p := c.pick(r)
	if p == nil {
		return nil, answer{}
	}
	a := &asked{id: "rq-" + strings.ReplaceAll(uuid.NewString(), "-", ""), kind: kind, tenant: who}
	c.mu.Lock()
	c.asked[a.id] = a
	c.mu.Unlock()
	q.id = a.id
	if q.path != "/v1/auth/login" {
		q.token = who.token
	}
	begun := time.Now()
	got, err := p.send(c.ctx, q)
	took := time.Since(begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest = max(c.longest, took)
	if err != nil {
		c.codes["no answer"]++
		if took > patience-time.Second {
			c.codes["no answer in time"]++
		}
		return a, answer{}
	}
	a.status, a.code = got.status, got.code()
	if got.status >= 500 {
		c.codes[strconv.Itoa(got.status)+" "+a.code]++
	}
	return a, got
}

// down: the platform said that it cannot now, or said nothing.
func (c *crowd) down(a *asked) bool { return a.status == 0 || a.status >= 500 }

// acked counts an acknowledged change, which the controllers wait for.
func (c *crowd) acked() {
	select {
	case c.acks <- struct{}{}:
	default:
	}
}

// unexpected is an answer that no fault explains.
func (c *crowd) unexpected(a *asked, got answer) {
	if c.ctx.Err() == nil {
		c.t.Errorf("%s answered %d %.300s", a.kind, got.status, got.body)
	}
	c.rest(50 * time.Millisecond)
}

// create stores a memory under an idempotency key, as often as it takes.
func (c *crowd) create(r *rand.Rand, who *customer, text string) (id string) {
	key := "k-" + uuid.NewString()
	c.mu.Lock()
	c.wanted[key] = true
	c.mu.Unlock()
	for try := 0; c.ctx.Err() == nil; try++ {
		a, got := c.ask(r, kindCreate, who, ask{method: "POST", path: "/v1/memories", key: key, body: map[string]any{"text": text, "tags": []string{key}}})
		if a == nil {
			return ""
		}
		a.again = try > 0
		switch {
		case got.status == 201:
			var v struct{ ID string }
			if err := got.into(&v); err != nil {
				c.unexpected(a, got)
				continue
			}
			a.resource = "memory/" + v.ID
			c.mu.Lock()
			c.created[key] = v.ID
			c.mu.Unlock()
			c.acked()
			return v.ID
		case c.down(a):
			c.rest(20 * time.Millisecond)
		default:
			c.unexpected(a, got)
		}
	}
	return ""
}

func (c *crowd) creates(r *rand.Rand) {
	for i := 0; !c.over(); i++ {
		who := c.m.plain
		if i%4 == 3 {
			who = c.m.strict
		}
		id := c.create(r, who, fmt.Sprintf("note %d of a day like any other", i))
		if id == "" || i%5 != 0 {
			continue
		}
		a, got := c.ask(r, kindDelete, who, ask{method: "DELETE", path: "/v1/memories/" + id})
		if a == nil {
			return
		}
		a.resource = "memory/" + id
		switch {
		case got.status == 204:
			a.alone = true
			c.acked()
		case !c.down(a):
			c.unexpected(a, got)
		}
	}
}

func (c *crowd) updates(r *rand.Rand, who *customer) {
	id := c.create(r, who, "a note that changes")
	open := false // an update that nobody answered may still be committed
	for i := 0; !c.over(); i++ {
		a, got := c.ask(r, kindUpdate, who, ask{method: "PATCH", path: "/v1/memories/" + id, body: map[string]any{"text": fmt.Sprintf("a note that changed %d times", i)}})
		if a == nil {
			return
		}
		a.resource = "memory/" + id
		switch {
		case got.status == 200:
			var v struct{ Version int64 }
			if err := got.into(&v); err != nil {
				c.unexpected(a, got)
				continue
			}
			a.version, a.alone, open = v.Version, true, false
			c.acked()
		case c.down(a):
			open = true
			c.rest(20 * time.Millisecond)
		case got.status == 412 && open: // between this one's reading and its writing
			open = false
		default:
			c.unexpected(a, got)
		}
	}
}

func (c *crowd) acts(r *rand.Rand) {
	for i := 0; !c.over(); i++ {
		who := c.m.plain
		if i%3 == 2 {
			who = c.m.strict
		}
		a, got := c.ask(r, kindAct, who, ask{method: "POST", path: "/outside/deed", body: map[string]any{"deed": i}})
		if a == nil {
			return
		}
		switch {
		case got.status == 200:
			c.acked()
		case c.down(a):
			c.rest(20 * time.Millisecond)
		default:
			c.unexpected(a, got)
		}
	}
}

// sampled keeps a kind of refusal below what a process records one by one.
func (c *crowd) sampled(r *rand.Rand, kind string) bool {
	p := c.pick(r)
	if p == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused[p] == nil {
		c.refused[p] = map[string]int{}
	}
	c.refused[p][kind]++
	n := 0
	for _, q := range c.fleet { // whichever of them is asked
		n = max(n, c.refused[q][kind])
	}
	return n > 30
}

func (c *crowd) refusals(r *rand.Rand) {
	for i := 0; !c.over(); i++ {
		c.rest(15 * time.Millisecond)
		if c.sampled(r, "refusal") {
			continue
		}
		q, want := ask{method: "GET", path: "/v1/memories/" + uuid.NewString()}, 404
		if i%2 == 1 {
			q, want = ask{method: "POST", path: "/v1/memories", body: map[string]any{"words": "none"}}, 422
		}
		a, got := c.ask(r, kindRefusal, c.m.plain, q)
		if a == nil {
			return
		}
		a.alone = got.status == want
		if !a.alone && !c.down(a) {
			c.unexpected(a, got)
		}
	}
}

func (c *crowd) logins(r *rand.Rand) {
	for i := 0; !c.over(); i++ {
		c.rest(40 * time.Millisecond)
		word, want := goodPassword, 200
		if i%3 == 2 {
			if c.sampled(r, "login") {
				continue
			}
			word, want = "not it", 401
		}
		a, got := c.ask(r, kindLogin, c.m.plain, ask{method: "POST", path: "/v1/auth/login", body: map[string]string{"tenant": c.m.plain.name, "email": c.m.plain.email, "password": word}})
		if a == nil {
			return
		}
		a.alone = got.status == want
		if !a.alone && !c.down(a) {
			c.unexpected(a, got)
		}
	}
}

func (c *crowd) reads(r *rand.Rand, who *customer) {
	for !c.over() {
		a, got := c.ask(r, kindRead, who, ask{method: "GET", path: "/v1/agents"})
		if a == nil {
			return
		}
		switch {
		case got.status == 200:
			a.alone = who == c.m.strict
			c.rest(time.Millisecond)
		case c.down(a):
			c.rest(10 * time.Millisecond)
		default:
			c.unexpected(a, got)
		}
	}
}

// await waits for n acknowledged changes.
func (c *crowd) await(n int) {
	c.t.Helper()
	late := time.NewTimer(90 * time.Second)
	defer late.Stop()
	for range n {
		select {
		case <-c.acks:
		case <-late.C:
			c.mu.Lock()
			defer c.mu.Unlock()
			var words []string
			for _, p := range c.fleet {
				words = append(words, p.said.String())
			}
			c.t.Fatalf("changes are no longer acknowledged: %v\n%s", c.codes, strings.Join(words, "\n---\n"))
		}
	}
}

// forget drops acknowledgements that came before now.
func (c *crowd) forget() {
	for {
		select {
		case <-c.acks:
		default:
			return
		}
	}
}
