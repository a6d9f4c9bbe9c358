package listen

import (
	"container/list"
	"net/netip"
	"sync"
)

// ledger knows who holds how many connections.
//
// When all places are taken, honest newcomers are not refused: the address
// with the most connections gives up the one that is worth least, the oldest
// of its kind, and never one on which a request is being served. A newcomer
// only takes from addresses that hold more than his own does, so the greediest
// is refused. Only when nothing but
// authenticated connections is left do idle ones of these go.
//
// In a flood from very many addresses with one connection each, a newcomer
// has the time in which all places turn over to finish its handshake and ask:
// at 10,000 places and 2,000 new connections a second, five seconds. Work per
// accept is bounded by searchLimit.
type ledger struct {
	most, perOwner int

	mu     sync.Mutex
	owners map[netip.Prefix]*owner
	sites  map[netip.Prefix]int // connections per IPv6 /48
	ranks  []list.List          // owners by their count, the longest at it in front
	top    int                  // no owner has more
	free   map[*Conn]struct{}
	total  int
}

type owner struct {
	key   netip.Prefix
	conns list.List // of *Conn, oldest in front
	rank  *list.Element
}

type refusal uint8

const (
	welcome refusal = iota
	overAddress
	overAll
)

const searchLimit = 128

func newLedger(most, perOwner int) *ledger {
	return &ledger{
		most: most, perOwner: perOwner,
		owners: map[netip.Prefix]*owner{},
		sites:  map[netip.Prefix]int{},
		ranks:  make([]list.List, perOwner+1),
		free:   map[*Conn]struct{}{},
	}
}

// ownerOf is the client that a connection counts for.
func ownerOf(a netip.Addr) netip.Prefix {
	n := 32
	if a.Is6() {
		n = 64
	}
	p, _ := a.Prefix(n)
	return p
}

// siteFactor is how many addresses' worth of connections an IPv6 /48 may hold.
const siteFactor = 4

// siteOf is the IPv6 site of a client, the zero Prefix for IPv4.
func siteOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.Prefix{}
	}
	p, _ := a.Prefix(48)
	return p
}

// join enters c, or says why not. The victim, if any, has left the ledger and
// is the caller's to close. Without a cap c counts for the total only.
func (l *ledger) join(c *Conn, uncapped bool) (victim *Conn, refused refusal) {
	key := ownerOf(c.addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	o, site := l.owners[key], siteOf(c.addr)
	if !uncapped && (o != nil && o.conns.Len() >= l.perOwner || l.sites[site] >= siteFactor*l.perOwner) {
		return nil, overAddress
	}
	if l.total >= l.most {
		has := 0
		if !uncapped && o != nil {
			has = o.conns.Len()
		}
		if victim = l.victim(has); victim == nil {
			return nil, overAll
		}
		l.remove(victim)
		o = l.owners[key] // the victim may have been its last
	}
	l.total++
	if uncapped {
		l.free[c] = struct{}{}
		if c.gone.Load() {
			l.remove(c)
		}
		return victim, welcome
	}
	if o == nil {
		o = &owner{key: key}
		l.owners[key] = o
	}
	c.place = o.conns.PushBack(c)
	c.owner = o
	if site.IsValid() {
		l.sites[site]++
	}
	l.move(o)
	if c.gone.Load() {
		l.remove(c) // closed before it was entered: nobody else would take it out
	}
	return victim, welcome
}

// leave removes c; a connection that is not in the ledger is fine.
func (l *ledger) leave(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
}

func (l *ledger) remove(c *Conn) {
	if _, ok := l.free[c]; ok {
		delete(l.free, c)
		l.total--
		return
	}
	if c.owner == nil {
		return
	}
	o := c.owner
	o.conns.Remove(c.place)
	c.owner, c.place = nil, nil
	if site := siteOf(o.key.Addr()); site.IsValid() {
		if l.sites[site]--; l.sites[site] == 0 {
			delete(l.sites, site)
		}
	}
	l.total--
	l.move(o)
}

// move puts an owner into the rank of its new count, which differs by one.
func (l *ledger) move(o *owner) {
	n := o.conns.Len()
	if o.rank != nil {
		for _, was := range [...]int{n - 1, n + 1} {
			if was >= 0 && was < len(l.ranks) {
				l.ranks[was].Remove(o.rank) // does nothing in a list that it is not in
			}
		}
		o.rank = nil
	}
	if n == 0 {
		delete(l.owners, o.key)
	} else {
		o.rank = l.ranks[n].PushBack(o)
	}
	l.top = max(l.top, n)
	for l.top > 0 && l.ranks[l.top].Len() == 0 {
		l.top--
	}
}

// victim looks from the greediest owners down, and among owners with as many
// for the connection that has done least, the oldest first. An owner with
// nothing to give goes behind the others of its rank, so that busy connections
// cannot stand in front of silent ones for longer than one search.
// Nobody evicts from who has no more than himself.
func (l *ledger) victim(has int) *Conn {
	var best *Conn
	least, budget := busy, searchLimit
	for n := l.top; n > has; n-- {
		rank := &l.ranks[n]
		e := rank.Front()
		for left := rank.Len(); left > 0 && e != nil; left-- {
			o, next := e.Value.(*owner), e.Next()
			gives := false
			for f := o.conns.Front(); f != nil; f = f.Next() {
				c := f.Value.(*Conn)
				if w := c.worth(); w < busy {
					gives = true
					if w < least {
						best, least = c, w
					}
				}
				if budget--; budget == 0 || least == silent {
					return best
				}
			}
			if !gives {
				rank.MoveToBack(e)
			}
			e = next
		}
		if least < member {
			return best
		}
	}
	return best
}

// worth is what would be lost with a connection.
type worth uint8

const (
	silent worth = iota // has not said a word
	spoke               // has begun a handshake or a request
	guest               // has been served, is idle
	member              // has authenticated, is idle
	busy                // is being served: never evicted
)

func (c *Conn) worth() worth {
	switch {
	case c.serving.Load() > 0:
		return busy
	case c.known.Load():
		return member
	case c.served.Load():
		return guest
	case c.heard.Load():
		return spoke
	}
	return silent
}

// within returns the open connections of a network.
func (l *ledger) within(p netip.Prefix) (found []*Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	collect := func(o *owner) {
		for e := o.conns.Front(); e != nil; e = e.Next() {
			if c := e.Value.(*Conn); p.Contains(c.addr) {
				found = append(found, c)
			}
		}
	}
	if p == ownerOf(p.Addr()) {
		if o := l.owners[p]; o != nil {
			collect(o)
		}
		return found
	}
	for _, o := range l.owners {
		if o.key.Overlaps(p) {
			collect(o)
		}
	}
	return found
}

func (l *ledger) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
