package shield

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Kind names an event.
type Kind string

const (
	Placed      Kind = "block_placed"   // a block of this replica took effect
	Lifted      Kind = "block_lifted"   // an operator lifted one
	Dropped     Kind = "blocked"        // a blocked address came back (sampled)
	Limited     Kind = "limited"        // beyond the allowance (sampled)
	Rejected    Kind = "refused"        // a malformed request (sampled)
	StoreFailed Kind = "store_failed"   // blocks are not shared now; local ones hold
	StoreBack   Kind = "store_restored" // they are again
)

// Event is what an Observer hears. Of one kind and client it hears at most one
// every ten seconds, and of all sampled kinds together at most 100 a second;
// Count is how many of this kind and client have happened since the last one
// heard, as far as remembered. Shield.Counters is exact. What an operator does
// is never sampled away.
type Event struct {
	Kind   Kind
	Time   time.Time
	Addr   netip.Addr   // the zero Addr where there is no single one
	Prefix netip.Prefix // of the client or block
	Reason string
	Rule   string // a Signature's id, or a part of Reason
	Owner  string // of the block, or who lifted it
	Until  time.Time
	Count  uint64
	Err    error // StoreFailed only
}

// Observer hears events. It is called on the request's path and must neither
// block nor call back into the shield.
type Observer interface{ Event(Event) }

// ObserverFunc is a function as an Observer.
type ObserverFunc func(Event)

// Event calls f.
func (f ObserverFunc) Event(e Event) { f(e) }

// Counters are exact totals since the start.
type Counters struct {
	Allowed, Limited, Blocked, Refused uint64            // decisions on requests
	Dropped                            uint64            // connections refused by Admit
	Placed, Lifted                     uint64            // blocks, by this replica
	Offences                           map[string]uint64 // by Offence name
	Events, Unheard                    uint64            // passed to the Observer, sampled away
}

type counters struct {
	allowed, limited, blocked, refused, dropped, placed, lifted atomic.Uint64
	events, unheard                                             atomic.Uint64
	offences                                                    [offences]atomic.Uint64
}

// sampler decides which events are heard. It has a fixed number of slots; two
// clients that share one only make each other's Count smaller.
type sampler struct {
	mu     sync.Mutex
	slots  [1024]sample
	second int64
	heard  int
}

type sample struct {
	kind  Kind
	key   client
	next  int64
	count uint64
}

const (
	sampleEvery  = 10 * time.Second
	samplePerSec = 100
)

// hear counts one event and returns how many to report, 0 for none.
func (s *sampler) hear(kind Kind, key client, now int64) uint64 {
	h := uint64(key)
	for _, b := range []byte(kind) {
		h = (h ^ uint64(b)) * 0x9e3779b97f4a7c15
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := &s.slots[h>>54]
	if slot.kind != kind || slot.key != key {
		*slot = sample{kind: kind, key: key}
	}
	slot.count++
	if now < slot.next {
		return 0
	}
	if sec := now / int64(time.Second); sec != s.second {
		s.second, s.heard = sec, 0
	}
	if s.heard >= samplePerSec {
		return 0
	}
	s.heard++
	n := slot.count
	slot.count, slot.next = 0, now+int64(sampleEvery)
	return n
}
