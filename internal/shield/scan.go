package shield

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

//go:embed data/scanners.json
var scannerData []byte

// Signature is one line of the scanner data. Text is lower case and matched
// against the lower-cased field, so A and a are one letter.
type Signature struct {
	ID     string `json:"id"`
	In     string `json:"in"`    // path (decoded once), query (raw), agent
	Match  string `json:"match"` // contains, prefix, suffix, exact
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

// scanLength bounds the bytes of one field that are scanned. Probes are short;
// what stands further back in a long query is content and not ours.
const scanLength = 2048

// scanners finds signatures in one pass per field, by three Aho-Corasick
// automata (CACM 18(6), 1975) compiled to tables. It never backtracks, so a
// request cannot be made expensive to scan.
type scanners struct {
	signatures         []Signature
	path, query, agent automaton
}

// newScanners compiles signatures as JSON; nil is the embedded set.
func newScanners(data []byte) (*scanners, error) {
	if data == nil {
		data = scannerData
	}
	s := &scanners{}
	if err := json.Unmarshal(data, &s.signatures); err != nil {
		return nil, fmt.Errorf("read scanner signatures: %w", err)
	}
	ids := map[string]bool{}
	fields := map[string][]int{"path": nil, "query": nil, "agent": nil}
	for i, g := range s.signatures {
		_, known := fields[g.In]
		switch {
		case g.ID == "" || g.Reason == "" || g.Text == "":
			return nil, fmt.Errorf("scanner signature %d (%q) lacks an id, a reason or a text", i, g.ID)
		case ids[g.ID]:
			return nil, fmt.Errorf("scanner signature %q is there twice", g.ID)
		case !known:
			return nil, fmt.Errorf("scanner signature %q looks in %q, want path, query or agent", g.ID, g.In)
		case g.Match != "contains" && g.Match != "prefix" && g.Match != "suffix" && g.Match != "exact":
			return nil, fmt.Errorf("scanner signature %q matches by %q, want contains, prefix, suffix or exact", g.ID, g.Match)
		case g.Text != strings.ToLower(g.Text) || len(g.Text) > 128:
			return nil, fmt.Errorf("scanner signature %q is not lower case or longer than 128 bytes", g.ID)
		}
		ids[g.ID] = true
		fields[g.In] = append(fields[g.In], i)
	}
	var errs [3]error
	s.path, errs[0] = compile(s.signatures, fields["path"])
	s.query, errs[1] = compile(s.signatures, fields["query"])
	s.agent, errs[2] = compile(s.signatures, fields["agent"])
	return s, errors.Join(errs[:]...)
}

// probe returns the signature a path or query matches, or nil.
func (s *scanners) probe(path, query string) *Signature {
	if i := s.path.find(path); i >= 0 {
		return &s.signatures[i]
	}
	if i := s.query.find(query); i >= 0 {
		return &s.signatures[i]
	}
	return nil
}

// tool returns the signature a User-Agent matches, or nil.
func (s *scanners) tool(agent string) *Signature {
	if i := s.agent.find(agent); i >= 0 {
		return &s.signatures[i]
	}
	return nil
}

// automaton is the compiled form: next[state*classes+class[byte]]. Byte 0 of a
// class table is "any byte no signature uses".
type automaton struct {
	class   [256]uint8
	classes int
	next    []uint16
	ends    [][]ending // by state, longest first
}

type ending struct {
	signature      int
	length         int
	atStart, atEnd bool
}

func compile(all []Signature, chosen []int) (automaton, error) {
	a := automaton{classes: 1}
	for _, i := range chosen {
		for _, b := range []byte(all[i].Text) {
			if a.class[b] == 0 {
				a.class[b] = uint8(a.classes)
				a.classes++
			}
		}
	}
	for b := byte('A'); b <= 'Z'; b++ {
		a.class[b] = a.class[b+'a'-'A']
	}
	const none = ^uint16(0)
	grow := func() int {
		for range a.classes {
			a.next = append(a.next, none)
		}
		a.ends = append(a.ends, nil)
		return len(a.ends) - 1
	}
	grow()
	for _, i := range chosen {
		g, state := all[i], 0
		for _, b := range []byte(g.Text) {
			at := state*a.classes + int(a.class[b])
			if a.next[at] == none {
				n := grow()
				if n >= int(none) {
					return a, errors.New("compile scanner signatures: more than 65,534 states")
				}
				a.next[at] = uint16(n)
			}
			state = int(a.next[at])
		}
		a.ends[state] = append(a.ends[state], ending{
			signature: i, length: len(g.Text),
			atStart: g.Match == "prefix" || g.Match == "exact",
			atEnd:   g.Match == "suffix" || g.Match == "exact",
		})
	}
	// Breadth first: a missing edge becomes the edge of the longest suffix that
	// is also a prefix, so that scanning is one look-up per byte.
	fail := make([]int, len(a.ends))
	var queue []int
	for c := range a.classes {
		if n := a.next[c]; n == none {
			a.next[c] = 0
		} else {
			queue = append(queue, int(n))
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		a.ends[state] = append(a.ends[state], a.ends[fail[state]]...)
		for c := range a.classes {
			at := state*a.classes + c
			back := a.next[fail[state]*a.classes+c]
			if n := a.next[at]; n == none {
				a.next[at] = back
			} else {
				fail[n] = int(back)
				queue = append(queue, int(n))
			}
		}
	}
	return a, nil
}

// find returns the index of the first signature that ends first, or -1.
func (a *automaton) find(text string) int {
	if len(text) > scanLength {
		text = text[:scanLength]
	}
	state := 0
	for i := 0; i < len(text); i++ {
		state = int(a.next[state*a.classes+int(a.class[text[i]])])
		for _, e := range a.ends[state] {
			if (!e.atStart || i+1 == e.length) && (!e.atEnd || i+1 == len(text)) {
				return e.signature
			}
		}
	}
	return -1
}
