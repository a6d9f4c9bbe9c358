package shield

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Shield is built from. A zero field takes the default that
// stands beside it.
type Config struct {
	Limit      int           // requests per client in any Window: 1,000
	Window     time.Duration // 1 min
	SiteFactor int           // what an IPv6 /48 may, in clients: 10
	Connects   int           // new connections per Window and client: 600; a TLS handshake costs as much as thirty requests

	FirstBlock time.Duration // the first automatic block: 10 min, or LastBlock when that is shorter
	LastBlock  time.Duration // the ceiling it doubles up to: 1 h
	// NeverBlock is limited like everybody, but neither scored, blocked nor
	// refused by country: loopback, monitoring, and every trusted proxy, since
	// an attacker behind a proxy must not get the proxy blocked.
	NeverBlock []netip.Prefix

	Clients   int // limited at once: 1<<20, 64 MiB once they have all come; see Shield.Bytes
	Suspects  int // scored at once: 1<<15
	MaxBlocks int // held at once: 100,000

	MaxHeaderFields int   // 100
	MaxHeaderBytes  int   // names and values: 32 KiB
	MaxTarget       int   // bytes of the request target: 8 KiB
	MaxBody         int64 // a declared Content-Length beyond it is scored and refused; 0: not looked at

	Points     Points        // by offence; all zero: DefaultPoints
	Signatures []byte        // scanner signatures as JSON: the embedded ones
	Countries  Countries     // nil: no country is refused
	Store      BlockStore    // a MemoryStore of its own
	Poll       time.Duration // how often the store is asked: 500 ms
	Observer   Observer      // nil: nobody listens
	Now        func() time.Time
}

// Countries refuses addresses by country; package shield/geo is one.
type Countries interface {
	// Refused returns the ISO 3166-1 code of a normal address's country, ""
	// when unknown, and whether it is refused.
	Refused(netip.Addr) (country string, refused bool)
}

// Shield decides what an address may. It is safe for concurrent use.
type Shield struct {
	config   Config
	limiter  limiter
	dials    limiter // connections
	scores   *scores
	accounts *accounts
	scanners *scanners
	blocks   *index
	counters counters
	sampler  sampler

	dirty     chan struct{} // a block waits to be stored
	storeDown atomic.Bool
	syncing   sync.Mutex // guards cursor
	cursor    int64

	life   sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}

	watchers atomic.Pointer[[]func(netip.Prefix)]
	watching sync.Mutex
}

// New checks the configuration and builds a Shield that shares nothing yet;
// see Start.
func New(c Config) (*Shield, error) {
	c.Limit = cmp.Or(c.Limit, 1000)
	c.Window = cmp.Or(c.Window, time.Minute)
	c.SiteFactor = cmp.Or(c.SiteFactor, 10)
	c.Connects = cmp.Or(c.Connects, 600)
	c.LastBlock = cmp.Or(c.LastBlock, time.Hour)
	c.FirstBlock = cmp.Or(c.FirstBlock, min(10*time.Minute, c.LastBlock))
	c.Clients = cmp.Or(c.Clients, 1<<20)
	c.Suspects = cmp.Or(c.Suspects, 1<<15)
	c.MaxBlocks = cmp.Or(c.MaxBlocks, 100_000)
	c.MaxHeaderFields = cmp.Or(c.MaxHeaderFields, 100)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 32<<10)
	c.MaxTarget = cmp.Or(c.MaxTarget, 8<<10)
	c.Poll = cmp.Or(c.Poll, 500*time.Millisecond)
	if c.Points == (Points{}) {
		c.Points = DefaultPoints()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Store == nil {
		c.Store = NewMemoryStore(c.Now)
	}
	switch {
	case c.Limit < 0 || c.Connects < 0 || c.SiteFactor < 0 || c.Window < 0 || c.Poll < 0 ||
		c.Clients < 0 || c.Suspects < 0 || c.MaxBlocks < 0:
		return nil, errors.New("configure shield: a limit is negative")
	case uint64(max(c.Limit, c.Connects))*uint64(c.SiteFactor) > math.MaxUint32:
		return nil, fmt.Errorf("configure shield: a limit of %d for a site is more than can be counted", max(c.Limit, c.Connects)*c.SiteFactor)
	case c.FirstBlock < 0 || c.LastBlock < c.FirstBlock:
		return nil, fmt.Errorf("configure shield: blocks end at %v but begin at %v", c.LastBlock, c.FirstBlock)
	}
	for i, p := range c.NeverBlock {
		if !p.IsValid() {
			return nil, fmt.Errorf("configure shield: never-block prefix %d is not valid", i)
		}
	}
	c.NeverBlock = normalPrefixes(c.NeverBlock)
	scanners, err := newScanners(c.Signatures)
	if err != nil {
		return nil, err
	}
	return &Shield{
		config:   c,
		limiter:  newLimiter(c.Clients, c.Limit*c.SiteFactor, c.Window),
		dials:    newLimiter(max(1, c.Clients/8), c.Connects*c.SiteFactor, c.Window), // who only connects is scored and soon blocked
		scores:   newScores(c.Suspects),
		accounts: newAccounts(c.Suspects),
		scanners: scanners,
		blocks:   newIndex(c.MaxBlocks),
		dirty:    make(chan struct{}, 1),
	}, nil
}

// Bytes is the memory of the fixed tables.
func (s *Shield) Bytes() int {
	return s.limiter.bytes() + s.dials.bytes() + s.scores.bytes() + s.accounts.bytes()
}

// Admit says whether a new connection from this address may go on, at accept
// and before TLS: not when the address is blocked, its country refused, or it
// connects too often, which also scores.
func (s *Shield) Admit(addr netip.Addr) bool {
	addr = Normal(addr)
	if !addr.IsValid() {
		return false
	}
	if s.never(addr) {
		return true
	}
	now := s.config.Now()
	d, stop := s.barred(now, addr)
	if !stop {
		one, site := clientOf(addr)
		wait := s.dials.take(one, now.UnixNano(), s.config.Connects)
		if wait == 0 && site != 0 {
			wait = s.dials.take(site, now.UnixNano(), s.config.Connects*s.config.SiteFactor)
		}
		if wait == 0 {
			return true
		}
		if d, stop = s.score(now, addr, false, ConnectionFlood, ""); !stop {
			d = Decision{Reason: ConnectionFlood.String()}
		}
	}
	s.counters.dropped.Add(1)
	s.sample(Event{Kind: Dropped, Time: now, Addr: addr, Prefix: d.Prefix, Reason: d.Reason, Rule: d.Rule, Until: d.Until})
	return false
}

// Check decides on one request, before authentication: blocked, refused by
// country, beyond the allowance, malformed, or allowed. It charges the
// allowance and scores what it sees. r may be nil where there is only an
// address. It allocates nothing on the way to Allow and to Limit.
func (s *Shield) Check(now time.Time, addr netip.Addr, r *http.Request) Decision {
	addr = Normal(addr)
	d := Decision{Verdict: Refused, Reason: "address", Rule: "client address"}
	if addr.IsValid() {
		d = s.decide(now, addr, r)
	}
	switch d.Verdict {
	case Allow:
		s.counters.allowed.Add(1)
		return d
	case Limit:
		s.counters.limited.Add(1)
		s.sample(Event{Kind: Limited, Time: now, Addr: addr, Reason: d.Reason})
	case Refused:
		s.counters.refused.Add(1)
		s.sample(Event{Kind: Rejected, Time: now, Addr: addr, Reason: d.Reason, Rule: d.Rule})
	case Barred:
		s.counters.blocked.Add(1)
		s.sample(Event{Kind: Dropped, Time: now, Addr: addr, Prefix: d.Prefix, Reason: d.Reason, Rule: d.Rule, Until: d.Until})
	}
	return d
}

func (s *Shield) decide(now time.Time, addr netip.Addr, r *http.Request) Decision {
	never := s.never(addr)
	if !never {
		if d, stop := s.barred(now, addr); stop {
			return d
		}
	}
	one, site := clientOf(addr)
	at := now.UnixNano()
	wait := s.limiter.take(one, at, s.config.Limit)
	if wait == 0 && site != 0 {
		wait = s.limiter.take(site, at, s.config.Limit*s.config.SiteFactor)
	}
	if wait > 0 {
		if d, stop := s.score(now, addr, never, Flood, ""); stop {
			return d
		}
		return Decision{Verdict: Limit, RetryAfter: wait, Reason: Flood.String()}
	}
	if r == nil {
		return Decision{}
	}
	return s.look(now, addr, never, r)
}

func (s *Shield) barred(now time.Time, addr netip.Addr) (Decision, bool) {
	if b, ok := s.blocks.find(addr, now); ok {
		return barredBy(b), true
	}
	if country, refused := s.country(addr); refused {
		return Decision{Verdict: Barred, Reason: "country", Rule: country}, true
	}
	return Decision{}, false
}

func (s *Shield) country(addr netip.Addr) (string, bool) {
	if s.config.Countries == nil {
		return "", false
	}
	return s.config.Countries.Refused(addr)
}

// Outcome is what became of a request, as far as it tells about the address.
type Outcome struct {
	Status      int    // of the answer
	LoginFailed bool   // a credential was wrong
	Account     string // whose, as typed; kept only as a keyed hash
}

// Observe learns from an answer: 404 and 401 storms and login spraying.
func (s *Shield) Observe(addr netip.Addr, o Outcome) {
	addr = Normal(addr)
	if !addr.IsValid() || s.never(addr) {
		return
	}
	now := s.config.Now()
	switch {
	case o.LoginFailed:
		one, _ := clientOf(addr)
		at, offence := now.UnixNano(), LoginFailure
		if o.Account != "" {
			account := s.accounts.hash(o.Account)
			many := s.scores.failed(one, account>>1, at) > sprayAccounts
			if s.accounts.failed(account, one, at) > sprayClients || many {
				offence = Spray
			}
		}
		s.score(now, addr, false, offence, "")
	case o.Status == http.StatusNotFound:
		s.score(now, addr, false, Missing, "")
	case o.Status == http.StatusUnauthorized:
		s.score(now, addr, false, Denied, "")
	}
}

// Report scores an offence that was seen below a request: on the connection.
// It returns whether the address is blocked now.
func (s *Shield) Report(addr netip.Addr, o Offence) bool {
	addr = Normal(addr)
	if !addr.IsValid() || int(o) >= offences {
		return false
	}
	_, stop := s.score(s.config.Now(), addr, s.never(addr), o, "")
	return stop
}

// score adds an offence to the client and, for IPv6, its site, and blocks what
// reached its threshold.
func (s *Shield) score(now time.Time, addr netip.Addr, never bool, o Offence, rule string) (Decision, bool) {
	s.counters.offences[o].Add(1)
	if never {
		return Decision{}, false
	}
	if b, ok := s.blocks.find(addr, now); ok {
		// What was under way when the block fell is not a repetition.
		return barredBy(b), true
	}
	one, site := clientOf(addr)
	points := s.config.Points[o]
	_, strikes := s.scores.charge(one, now.UnixNano(), o, points, Threshold)
	key := one
	if site != 0 {
		if _, n := s.scores.charge(site, now.UnixNano(), o, points, Threshold*float32(s.config.SiteFactor)); n > 0 {
			strikes, key = n, site
		}
	}
	if strikes == 0 {
		return Decision{}, false
	}
	length := s.config.FirstBlock
	for i := 1; i < strikes && length < s.config.LastBlock; i++ {
		length *= 2
	}
	b := Block{
		Prefix: key.prefix(), Reason: o.String(), Owner: Automatic, Strikes: strikes,
		From: now, Until: now.Add(min(length, s.config.LastBlock)),
	}
	if s.blocks.put(b, time.Time{}) {
		s.counters.placed.Add(1)
		select {
		case s.dirty <- struct{}{}:
		default:
		}
		s.sample(Event{Kind: Placed, Time: now, Addr: addr, Prefix: b.Prefix, Reason: b.Reason, Rule: rule, Owner: b.Owner, Until: b.Until})
		s.announce(b)
	}
	d := barredBy(b)
	d.Rule = rule
	return d, true
}

// never says whether a normal address is on the never-block list.
func (s *Shield) never(addr netip.Addr) bool { return contains(s.config.NeverBlock, addr) }

// Watch has f called with every prefix that becomes blocked here, by whomever,
// so that open connections can be cut. f must be quick and not call back.
func (s *Shield) Watch(f func(netip.Prefix)) {
	s.watching.Lock()
	defer s.watching.Unlock()
	var all []func(netip.Prefix)
	if old := s.watchers.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, f)
	s.watchers.Store(&all)
}

func (s *Shield) announce(b Block) {
	if all := s.watchers.Load(); all != nil {
		for _, f := range *all {
			f(b.Prefix)
		}
	}
}

func (s *Shield) sample(e Event) {
	if s.config.Observer == nil {
		return
	}
	key, _ := clientOf(e.Addr)
	if e.Count = s.sampler.hear(e.Kind, key, e.Time.UnixNano()); e.Count == 0 {
		s.counters.unheard.Add(1)
		return
	}
	if !e.Prefix.IsValid() {
		e.Prefix = key.prefix()
	}
	s.tell(e)
}

func (s *Shield) tell(e Event) {
	if s.config.Observer != nil {
		s.counters.events.Add(1)
		s.config.Observer.Event(e)
	}
}

// Counters returns the totals at this instant.
func (s *Shield) Counters() Counters {
	c := &s.counters
	out := Counters{
		Allowed: c.allowed.Load(), Limited: c.limited.Load(), Blocked: c.blocked.Load(),
		Refused: c.refused.Load(), Dropped: c.dropped.Load(), Placed: c.placed.Load(),
		Lifted: c.lifted.Load(), Events: c.events.Load(), Unheard: c.unheard.Load(),
		Offences: make(map[string]uint64, offences),
	}
	for i := range c.offences {
		out.Offences[Offence(i).String()] = c.offences[i].Load()
	}
	return out
}
