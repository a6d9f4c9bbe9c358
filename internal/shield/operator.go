package shield

import (
	"context"
	"errors"
	"math/bits"
	"net/netip"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// longestBlock bounds what an operator may ask for: blocks are timed, and an
// address has another owner a year later.
const longestBlock = 366 * 24 * time.Hour

// Blocks lists the blocks that hold here now, in order of their prefix.
func (s *Shield) Blocks() []Block {
	now := s.config.Now()
	var all []Block
	s.blocks.each(func(b Block, _ time.Time) {
		if b.Active(now) {
			all = append(all, b)
		}
	})
	sortBlocks(all)
	return all
}

// Block keeps prefix out for length, in owner's name, on every replica. The
// store is told first: an error means nothing has changed. Never-block
// prefixes inside it stay free. An IPv4 network larger than a /8 or an IPv6
// one larger than a /16 is refused as a slip of the finger. Errors are of
// kind fault.Invalid or fault.Unavailable.
func (s *Shield) Block(ctx context.Context, prefix netip.Prefix, length time.Duration, reason, owner string) (Block, error) {
	p := normalPrefix(prefix)
	switch {
	case !p.IsValid():
		return Block{}, fault.New(fault.Invalid, "prefix is not an address or CIDR network")
	case p.Addr().Is4() && p.Bits() < 8, p.Addr().Is6() && p.Bits() < 16:
		return Block{}, fault.New(fault.Invalid, "prefix %v is too wide: at most a /8 (IPv4) or /16 (IPv6)", p)
	case length <= 0 || length > longestBlock:
		return Block{}, fault.New(fault.Invalid, "a block lasts up to 366 days")
	case reason == "" || owner == "" || owner == Automatic || len(reason) > 512 || len(owner) > 256:
		return Block{}, fault.New(fault.Invalid, "a block needs a reason (up to 512 bytes) and a named owner")
	}
	now := s.config.Now()
	b := Block{Prefix: p, Reason: reason, Owner: owner, From: now, Until: now.Add(length)}
	if err := s.config.Store.Put(ctx, b); err != nil {
		return Block{}, fault.Wrap(err, fault.Unavailable, "the block could not be stored")
	}
	if !s.blocks.put(b, now) {
		return Block{}, fault.New(fault.Unavailable, "the table of blocks is full of operators' blocks")
	}
	s.counters.placed.Add(1)
	s.tell(Event{Kind: Placed, Time: now, Addr: p.Addr(), Prefix: p, Reason: reason, Owner: owner, Until: b.Until, Count: 1})
	s.announce(b)
	return b, nil
}

// Lift ends the block on exactly this prefix on every replica, in by's name,
// and forgets the scores and strikes behind it. Errors are of kind
// fault.NotFound or fault.Unavailable.
func (s *Shield) Lift(ctx context.Context, prefix netip.Prefix, by string) error {
	p := normalPrefix(prefix)
	s.syncing.Lock() // or a round under way stores it again behind our back
	defer s.syncing.Unlock()
	_, here := s.blocks.exact(p)
	err := s.config.Store.Lift(ctx, p, by)
	if errors.Is(err, ErrNotBlocked) && here {
		err = nil // placed a moment ago, not stored yet
	}
	switch {
	case errors.Is(err, ErrNotBlocked):
		return fault.New(fault.NotFound, "prefix is not blocked")
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "the block could not be lifted")
	}
	s.release(p)
	s.counters.lifted.Add(1)
	s.tell(Event{Kind: Lifted, Time: s.config.Now(), Addr: p.Addr(), Prefix: p, Owner: by, Count: 1})
	return nil
}

// Standing is what an operator wants to know about an address.
type Standing struct {
	Addr       netip.Addr
	NeverBlock bool
	Country    string
	Refused    bool   // by country
	Block      *Block // over it, nil when none
	Left       int    // requests it could make at this instant
	Client     Score  // of the address (IPv4) or its /64
	Site       *Score // of its /48, nil for IPv4
}

// Score says how far a client is from a block, and why.
type Score struct {
	Prefix    netip.Prefix
	Sum       float64
	Threshold float64
	Parts     map[string]float64 // by Offence name, what is not zero
	Accounts  int                // different accounts that failed to log in, at least
	Strikes   int                // automatic blocks in the last day
}

// Explain returns an address's standing.
func (s *Shield) Explain(addr netip.Addr) Standing {
	addr = Normal(addr)
	st := Standing{Addr: addr}
	if !addr.IsValid() {
		return st
	}
	now := s.config.Now()
	st.NeverBlock = s.never(addr)
	st.Country, st.Refused = s.country(addr)
	st.Refused = st.Refused && !st.NeverBlock
	if b, ok := s.blocks.find(addr, now); ok && !st.NeverBlock {
		st.Block = &b
	}
	one, site := clientOf(addr)
	st.Left = s.limiter.left(one, now.UnixNano(), s.config.Limit)
	st.Client = s.scoreOf(one, now, Threshold)
	if site != 0 {
		st.Left = min(st.Left, s.limiter.left(site, now.UnixNano(), s.config.Limit*s.config.SiteFactor))
		of := s.scoreOf(site, now, Threshold*float64(s.config.SiteFactor))
		st.Site = &of
	}
	return st
}

func (s *Shield) scoreOf(key client, now time.Time, threshold float64) Score {
	out := Score{Prefix: key.prefix(), Threshold: threshold, Parts: map[string]float64{}}
	r, ok := s.scores.peek(key, now.UnixNano())
	if !ok {
		return out
	}
	for i, p := range r.parts {
		if p >= 0.01 {
			out.Parts[Offence(i).String()] = float64(p)
			out.Sum += float64(p)
		}
	}
	if now.UnixNano()-r.since < int64(sprayWindow) {
		out.Accounts = bits.OnesCount64(r.accounts)
	}
	if now.UnixNano()-r.struck < int64(strikeMemory) {
		out.Strikes = int(r.strikes)
	}
	return out
}
