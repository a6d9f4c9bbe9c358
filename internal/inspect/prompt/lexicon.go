package prompt

import (
	_ "embed"
	"fmt"
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
	names []string
	stems [1 << 11]uint64 // a bit per stem hash
	stem  map[uint32]uint16
	first [1 << 11]uint64 // a bit per hash that begins an entry
	edges edges
	nodes []concept
	depth int
}

// edges is an open-addressed table from (node, hash) to node.
type edges struct {
	key  []uint64
	to   []uint32
	mask uint64
}

func (e *edges) get(node uint32, h uint32) uint32 {
	k := uint64(node)<<32 | uint64(h)
	for i := (k * 0x9E3779B97F4A7C15) >> 40 & e.mask; ; i = (i + 1) & e.mask {
		switch e.key[i] {
		case k:
			return e.to[i]
		case 0:
			return 0
		}
	}
}

func (l *lexicon) stemBit(h uint64) bool {
	x := fold32(h) >> 15
	return l.stems[x>>6]&(1<<(x&63)) != 0
}

func (l *lexicon) isStem(h uint32) bool { _, ok := l.stem[h]; return ok }

func (l *lexicon) begins(h uint32) bool {
	x := h >> 15
	return l.first[x>>6]&(1<<(x&63)) != 0
}

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

// parseLexicon builds a lexicon from the text of a data file.
func parseLexicon(text string) (*lexicon, error) {
	l := &lexicon{names: []string{""}, stem: map[uint32]uint16{}}
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
		}
		for e := range strings.SplitSeq(rest, ", ") {
			if e = strings.TrimSpace(e); e != "" {
				entries = append(entries, entry{e, c})
			}
		}
	}
	size := 1 << 12
	total := 0
	for _, e := range entries {
		total += len(e.text)/2 + 2
	}
	for size < total {
		size *= 2
	}
	l.edges = edges{make([]uint64, size), make([]uint32, size), uint64(size - 1)}
	l.nodes = make([]concept, 1, total)
	var s scan
	s.lex = l
	for _, e := range entries {
		node, depth := uint32(0), 0
		for _, part := range strings.SplitAfter(e.text, "*") {
			part, star := strings.CutSuffix(part, "*")
			f := fold.Get(part)
			s.tokenize(f.Bytes)
			f.Release()
			for i, t := range s.toks {
				h := t.hash
				if star && i == len(s.toks)-1 {
					l.stem[h] = 1
					x := h >> 15
					l.stems[x>>6] |= 1 << (x & 63)
					h ^= stemMark
				}
				if node == 0 {
					x := h >> 15
					l.first[x>>6] |= 1 << (x & 63)
				}
				node = l.step(node, h)
				depth++
			}
		}
		if node == 0 {
			return nil, fmt.Errorf("read lexicon: entry %q is empty", e.text)
		}
		if l.nodes[node] == 0 {
			l.nodes[node] = e.c
		}
		l.depth = max(l.depth, depth)
	}
	return l, nil
}

func (l *lexicon) step(node, h uint32) uint32 {
	if to := l.edges.get(node, h); to != 0 {
		return to
	}
	l.nodes = append(l.nodes, 0)
	to := uint32(len(l.nodes) - 1)
	k := uint64(node)<<32 | uint64(h)
	i := (k * 0x9E3779B97F4A7C15) >> 40 & l.edges.mask
	for l.edges.key[i] != 0 {
		i = (i + 1) & l.edges.mask
	}
	l.edges.key[i], l.edges.to[i] = k, to
	return to
}

// match returns the concept of the longest entry beginning at token i, and the
// token after it.
func (l *lexicon) match(toks []token, i int) (concept, int) {
	t := &toks[i]
	var best concept
	end := i
	if l.begins(t.hash) {
		best, end = l.walk(toks, i, t.hash)
	}
	if t.stem != 0 {
		if h := t.stem ^ stemMark; l.begins(h) {
			if c, e := l.walk(toks, i, h); c != 0 && (e > end || best == 0) {
				best, end = c, e
			}
		}
	}
	return best, end
}

func (l *lexicon) walk(toks []token, i int, h uint32) (best concept, end int) {
	node := l.edges.get(0, h)
	for node != 0 {
		i++
		if c := l.nodes[node]; c != 0 {
			best, end = c, i
		}
		if i >= len(toks) {
			break
		}
		next := l.edges.get(node, toks[i].hash)
		if next == 0 && toks[i].stem != 0 {
			next = l.edges.get(node, toks[i].stem^stemMark)
		}
		node = next
	}
	return best, end
}
