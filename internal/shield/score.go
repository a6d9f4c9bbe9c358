package shield

import (
	"hash/maphash"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Login spraying: how many different accounts may fail from one client, and
// how many different clients may fail on one account, inside sprayWindow
// before every further failure is a Spray. Both are counted with 64-bit
// linear-counting bitmaps (Whang et al. 1990), which only ever underestimate.
const (
	sprayWindow   = 10 * time.Minute
	sprayAccounts = 8
	sprayClients  = 12
)

// strikeMemory is how long an earlier block still doubles the next one.
const strikeMemory = 24 * time.Hour

// scores holds what clients did, decayed, in a table of fixed size.
//
// A full set gives up the record with the lowest live score. Unlike the
// limiter's the newcomer does not inherit it: a wrong score would block
// somebody. To be forgotten, an attacker would need eight other clients in
// his own set with higher scores than his, and the seed keeps him from
// choosing; those eight are then the ones about to be blocked.
type scores struct {
	seed  maphash.Seed
	sets  sets[record]
	locks [stripes]stripe
}

type record struct {
	key      client
	last     int64  // Unix nanoseconds of the parts' values
	struck   int64  // Unix nanoseconds of the last automatic block
	since    int64  // Unix nanoseconds at which accounts was cleared
	accounts uint64 // bitmap of hashed accounts that failed
	strikes  uint8
	parts    [offences]float32
}

func newScores(clients int) *scores {
	return &scores{seed: maphash.MakeSeed(), sets: newSets[record](2 * clients)}
}

// open returns the key's record, decayed to now, with its lock held.
func (s *scores) open(key client, now int64) (*record, *stripe) {
	set, lock := place(s.seed, uint64(key), s.sets.n)
	mu := &s.locks[lock]
	mu.Lock()
	var victim *record
	lowest := float32(math.MaxFloat32)
	for i := range s.sets.at(set) {
		r := &s.sets.at(set)[i]
		if r.key == key {
			r.decay(now)
			return r, mu
		}
		if v := r.weight(now); v < lowest {
			victim, lowest = r, v
		}
	}
	*victim = record{key: key, last: now}
	return victim, mu
}

// peek returns a copy of the key's record, decayed to now.
func (s *scores) peek(key client, now int64) (record, bool) {
	set, lock := place(s.seed, uint64(key), s.sets.n)
	s.locks[lock].Lock()
	defer s.locks[lock].Unlock()
	for _, r := range s.sets.at(set) {
		if r.key == key {
			r.decay(now)
			return r, true
		}
	}
	return record{}, false
}

func (r *record) sum() (sum float32) {
	for _, p := range r.parts {
		sum += p
	}
	return sum
}

func (r *record) decay(now int64) {
	age := now - r.last
	if age <= 0 {
		return
	}
	r.last = now
	if r.sum() == 0 {
		return
	}
	f := float32(math.Exp2(-float64(age) / float64(HalfLife)))
	for i := range r.parts {
		r.parts[i] *= f
	}
}

// weight orders records for eviction: an unused slot is lightest, a record
// that remembers a strike is heavier than any that does not.
func (r *record) weight(now int64) float32 {
	if r.key == 0 {
		return -1
	}
	v := r.sum() * float32(math.Exp2(-float64(max(now-r.last, 0))/float64(HalfLife)))
	if r.strikes > 0 && now-r.struck < int64(strikeMemory) {
		v += Threshold
	}
	return v
}

// charge adds points and reports the sum. At the threshold it starts over and
// counts a strike; strikes is then at least 1.
func (s *scores) charge(key client, now int64, o Offence, points, threshold float32) (sum float32, strikes int) {
	r, mu := s.open(key, now)
	defer mu.Unlock()
	r.parts[o] += points
	if sum = r.sum(); sum < threshold {
		return sum, 0
	}
	if now-r.struck >= int64(strikeMemory) {
		r.strikes = 0
	}
	r.strikes = min(r.strikes+1, 16)
	r.struck = now
	r.parts = [offences]float32{}
	return sum, int(r.strikes)
}

// adopt learns of a block that another replica placed, so that the next one
// here doubles from there.
func (s *scores) adopt(key client, at int64, strikes int) {
	r, mu := s.open(key, at)
	defer mu.Unlock()
	r.strikes = max(r.strikes, uint8(min(strikes, 16)))
	r.struck = max(r.struck, at)
	r.parts = [offences]float32{}
}

// failed notes a failed login and reports how many accounts it has been.
func (s *scores) failed(key client, account uint64, now int64) int {
	r, mu := s.open(key, now)
	defer mu.Unlock()
	if now-r.since >= int64(sprayWindow) {
		r.since, r.accounts = now, 0
	}
	r.accounts |= 1 << (account & 63)
	return bits.OnesCount64(r.accounts)
}

// forget drops every record inside p, strikes included.
func (s *scores) forget(p netip.Prefix) {
	for i := range s.sets.n {
		mu := &s.locks[i%stripes]
		mu.Lock()
		for j := range s.sets.at(i) {
			r := &s.sets.at(i)[j]
			if r.key != 0 && within(p, r.key.prefix()) {
				*r = record{}
			}
		}
		mu.Unlock()
	}
}

// within says whether a client lies in p, or p (an IPv6 host) in the client.
func within(p, c netip.Prefix) bool { return p.Overlaps(c) }

func (s *scores) bytes() int { return s.sets.bytes() }

// accounts counts, per account, from how many clients logins failed. Names are
// kept as keyed hashes only.
type accounts struct {
	seed  maphash.Seed
	sets  sets[target]
	locks [stripes]stripe
}

type target struct {
	key     uint64
	since   int64
	clients uint64
}

func newAccounts(n int) *accounts {
	return &accounts{seed: maphash.MakeSeed(), sets: newSets[target](2 * n)}
}

func (a *accounts) hash(name string) uint64 { return maphash.String(a.seed, name) | 1 }

func (a *accounts) bytes() int { return a.sets.bytes() }

// failed notes a failed login and reports from how many clients it has been.
// A full set gives up the account with the fewest clients.
func (a *accounts) failed(account uint64, from client, now int64) int {
	set, lock := place(a.seed, account, a.sets.n)
	mu := &a.locks[lock]
	mu.Lock()
	defer mu.Unlock()
	var t *target
	fewest := 65
	for i := range a.sets.at(set) {
		c := &a.sets.at(set)[i]
		if c.key == account {
			t = c
			break
		}
		n := bits.OnesCount64(c.clients)
		if now-c.since >= int64(sprayWindow) {
			n = -1
		}
		if n < fewest {
			t, fewest = c, n
		}
	}
	if t.key != account || now-t.since >= int64(sprayWindow) {
		*t = target{key: account, since: now}
	}
	t.clients |= 1 << (maphash.Comparable(a.seed, from) & 63)
	return bits.OnesCount64(t.clients)
}
