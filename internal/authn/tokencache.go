package authn

import (
	"strings"
	"sync"
)

const cacheShards = 32 // 5 bits, see shard

// tokenCache remembers verified tokens by their full text. A hit hashes and
// compares the text inside Go's map, 0.1 µs and exact; a digest as key would
// cost 0.7 µs of SHA-256 and hide nothing, because the key that signs every
// token lives in the same memory. Only tokens that we signed get in, so
// strangers can neither fill it nor push anybody out.
type tokenCache struct {
	shards [cacheShards]tokenShard
	limit  int // per shard
}

type tokenShard struct {
	mu sync.RWMutex
	m  map[string]*verified
	_  [32]byte // keeps two locks off one cache line
}

func newTokenCache(size int) *tokenCache {
	c := &tokenCache{limit: max(1, size/cacheShards)}
	for i := range c.shards {
		c.shards[i].m = make(map[string]*verified)
	}
	return c
}

// shard picks by the end of the signature, which is uniform among good tokens.
// The very last character is skipped: it carries padding.
func (c *tokenCache) shard(token string) *tokenShard {
	var h uint32
	if n := len(token); n > 4 {
		h = uint32(token[n-2]) | uint32(token[n-3])<<8 | uint32(token[n-4])<<16
	}
	return &c.shards[h*0x9e3779b1>>27] // Fibonacci hashing to 5 bits
}

func (c *tokenCache) get(token string) *verified {
	s := c.shard(token)
	s.mu.RLock()
	v := s.m[token]
	s.mu.RUnlock()
	return v
}

// put remembers v. A full shard first looks at a few entries that the map hands
// out at random: expired ones go, otherwise the one that expires first.
func (c *tokenCache) put(token string, v *verified, now int64) {
	s := c.shard(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.m[token]; !known && len(s.m) >= c.limit {
		var victim string
		first, seen := int64(0), 0
		for k, e := range s.m {
			if e.expires <= now {
				delete(s.m, k)
			} else if victim == "" || e.expires < first {
				victim, first = k, e.expires
			}
			if seen++; seen == 16 {
				break
			}
		}
		if len(s.m) >= c.limit {
			delete(s.m, victim)
		}
	}
	// Cloned, because token is a piece of a header line that would be kept
	// alive with it.
	s.m[strings.Clone(token)] = v
}

func (c *tokenCache) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
