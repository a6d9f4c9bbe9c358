package prompt

import (
	_ "embed"
	"fmt"
	"math/bits"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/fold"
)

// lexicon.txt names the concepts and the words that carry them.
//
//go:embed data/lexicon.txt
var lexiconText string

// concept is an index into lexicon.names; 0 is none. At most 63 exist, so that
// a set of them fits one word.
type concept uint8

// lexicon finds concepts in a stream of tokens. Words become ids (exact, or by
// their longest stem), ids walk a trie. It is read-only once built.
type lexicon struct {
	names  []string
	may    [1 << 11]uint64 // a bit per hash of a stem
	stem   stems
	first  [1 << 11]uint64 // a bit per hash that begins an entry
	marks  [512]mark       // by the low bits of the hash
	edges  edges
	likely [1 << 11]uint64 // a bit per node and hash that edges has
	nodes  []node
	depth  int
	inert  concept // whose words carry no other concept
}

// mark is what a token of one punctuation mark has.
type mark struct {
	root  uint16 // the node of the entries that begin with it
	flags uint8
}

// node is where an entry has come to.
type node struct {
	c     concept // of the entry that ends here, or 0
	inner bool    // others go on
}

// stems is an open-addressed set of hashes, none of which is 0.
type stems []uint32

func (t stems) has(h uint32) bool {
	mask := uint32(len(t) - 1)
	for i := h * 0x9E3779B1 >> 8; ; i++ {
		switch t[i&mask] {
		case h:
			return true
		case 0:
			return false
		}
	}
}

func (t stems) add(h uint32) {
	i, mask := h*0x9E3779B1>>8, uint32(len(t)-1)
	for t[i&mask] != 0 {
		i++
	}
	t[i&mask] = h
}

// edges is an open-addressed table from node and hash to node, one word each
// (16, 32 and 16 bits), so that a look-up touches one line of the cache.
type edges []uint64

func (e edges) slot(node, h uint32) uint64 {
	return (uint64(node)<<32 | uint64(h)) * 0x9E3779B97F4A7C15 >> 40
}

func (e edges) get(node, h uint32) uint32 {
	k, mask := uint64(node)<<32|uint64(h), uint64(len(e)-1)
	for i := e.slot(node, h); ; i++ {
		x := e[i&mask]
		if x>>16 == k {
			return uint32(x & 0xffff)
		}
		if x == 0 {
			return 0
		}
	}
}

func (e edges) put(node, h, to uint32) {
	i, mask := e.slot(node, h), uint64(len(e)-1)
	for e[i&mask] != 0 {
		i++
	}
	e[i&mask] = uint64(node)<<48 | uint64(h)<<16 | uint64(to)
}

func (l *lexicon) stemBit(h uint64) bool {
	x := (uint32(h>>32) ^ uint32(h)) >> 15 // of fold32, whose 0 has the bit of 1
	return l.may[x>>6]&(1<<(x&63)) != 0
}

func (l *lexicon) isStem(h uint32) bool { return l.stem.has(h) }

// place is a hash's bit of lexicon.first. The product parts the small hashes that
// stand for marks and numbers.
func place(h uint32) uint32 { return h * 0x9E3779B1 >> 15 }

// begins errs on the side of yes.
func (l *lexicon) begins(h uint32) bool {
	x := place(h)
	return l.first[x>>6]&(1<<(x&63)) != 0
}

// root is the node of the entries that begin with a hash, or 0.
func (l *lexicon) root(h uint32) uint16 {
	if !l.begins(h) || len(l.edges) == 0 { // while it is built
		return 0
	}
	return uint16(l.edges.get(0, h))
}

// follow is the node behind a node and a hash, or 0.
func (l *lexicon) follow(node, h uint32) uint32 {
	if x := pairBit(node, h); l.likely[x>>6]>>(x&63)&1 == 0 {
		return 0
	}
	return l.edges.get(node, h)
}

func pairBit(node, h uint32) uint64 { return (uint64(node)<<32 | uint64(h)) * 0x9E3779B97F4A7C15 >> 47 }

// stemMark sets stems apart from whole words of the same letters.
const stemMark = 0x5bd1e995

func (l *lexicon) concept(name string) (concept, error) {
	for i, n := range l.names {
		if n == name && i > 0 {
			return concept(i), nil
		}
	}
	return 0, fmt.Errorf("unknown concept %q", name)
}

// inertName is the concept of things with a trigger word in their name.
const inertName = "matter"

// parseLexicon builds a lexicon from the text of a data file.
func parseLexicon(text string) (*lexicon, error) {
	l := &lexicon{names: []string{""}}
	type entry struct {
		text string
		c    concept
	}
	var entries []entry
	index := map[string]concept{}
	line := 0
	for raw := range strings.Lines(text) {
		line++
		raw = strings.TrimSpace(raw)
		if raw == "" || raw[0] == '#' {
			continue
		}
		head, rest, ok := strings.Cut(raw, ": ")
		name, _, ok2 := strings.Cut(head, " ")
		if !ok || !ok2 {
			return nil, fmt.Errorf("read lexicon line %d: want 'concept language: entries'", line)
		}
		c, ok := index[name]
		if !ok {
			if len(l.names) > 62 {
				return nil, fmt.Errorf("read lexicon line %d: more than 62 concepts", line)
			}
			c = concept(len(l.names))
			l.names = append(l.names, name)
			index[name] = c
			if name == inertName {
				l.inert = c
			}
		}
		for e := range strings.SplitSeq(rest, ", ") {
			if e = strings.TrimSpace(e); e != "" {
				entries = append(entries, entry{e, c})
			}
		}
	}
	l.nodes = make([]node, 1, 1<<14)
	tree := map[uint64]uint32{} // node and hash to node
	stemmed := map[uint32]struct{}{}
	var s scan
	s.lex = l
	for _, e := range entries {
		at, depth := uint32(0), 0
		for _, part := range strings.SplitAfter(e.text, "*") {
			part, star := strings.CutSuffix(part, "*")
			f := fold.Get(part)
			s.tokenize(f.Bytes, f.Runs)
			f.Release()
			for i, t := range s.toks {
				h := t.hash
				if star && i == len(s.toks)-1 {
					stemmed[h] = struct{}{}
					h ^= stemMark
				}
				if at == 0 {
					x := place(h)
					l.first[x>>6] |= 1 << (x & 63)
				}
				k := uint64(at)<<32 | uint64(h)
				if at = tree[k]; at == 0 {
					at = uint32(len(l.nodes))
					l.nodes = append(l.nodes, node{})
					tree[k] = at
				}
				depth++
			}
		}
		if at == 0 {
			return nil, fmt.Errorf("read lexicon: entry %q is empty", e.text)
		}
		if n := &l.nodes[at]; n.c == 0 {
			n.c = e.c
		}
		l.depth = max(l.depth, depth)
	}
	if len(l.nodes) > 1<<16 {
		return nil, fmt.Errorf("read lexicon: %d nodes, more than 16 bits name", len(l.nodes))
	}
	l.edges = make(edges, sparse(len(tree)))
	for k, to := range tree {
		from, h := uint32(k>>32), uint32(k)
		l.edges.put(from, h, to)
		l.nodes[from].inner = true
		x := pairBit(from, h)
		l.likely[x>>6] |= 1 << (x & 63)
	}
	for i := range l.marks {
		h := hashPunct + uint32(i-hashPunct)&511
		l.marks[i].root = l.root(h)
		if c := h - hashPunct; c < 128 && opens[c>>6]>>(c&63)&1 != 0 {
			l.marks[i].flags = opensFlag
		}
	}
	l.stem = make(stems, sparse(len(stemmed)))
	for h := range stemmed {
		l.stem.add(h)
		x := h >> 15
		l.may[x>>6] |= 1 << (x & 63)
	}
	return l, nil
}

// sparse is the size of a table of n keys: a power of two, at most half full.
func sparse(n int) int { return 1 << bits.Len(uint(2*n)) }

// match returns the concept of the longest entry beginning at token i, and the
// token after it.
func (l *lexicon) match(toks []token, i int) (concept, int) {
	t := &toks[i]
	var best concept
	end := i
	if t.root != 0 {
		best, end = l.walk(toks, i, t.root)
	}
	if t.stemRoot != 0 {
		if c, e := l.walk(toks, i, t.stemRoot); c != 0 && (e > end || best == 0) {
			best, end = c, e
		}
	}
	return best, end
}

// walk goes on from the node of token i.
func (l *lexicon) walk(toks []token, i int, root uint16) (best concept, end int) {
	for at := uint32(root); at != 0; {
		i++
		n := l.nodes[at]
		if n.c != 0 {
			best, end = n.c, i
		}
		if !n.inner || i >= len(toks) {
			break
		}
		next := l.follow(at, toks[i].hash)
		if next == 0 && toks[i].stem != 0 {
			next = l.follow(at, toks[i].stem^stemMark)
		}
		at = next
	}
	return best, end
}
