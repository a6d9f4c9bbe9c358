package prompt

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// rules.json names the rules. All have the shape of Rule.
//
//go:embed data/rules.json
var rulesText []byte

// Rule is one named reason. Seq is a sequence of steps separated by spaces,
// each a concept or several separated by |; a ^ before a step asks that it
// opens its clause. The steps must follow one another within Within words (of
// ten bytes). Unless lists concepts whose presence in the sentence excuses it.
type Rule struct {
	ID       string `json:"id"`
	Family   string `json:"family"`
	About    string `json:"about"`
	Seq      string `json:"seq"`
	Within   int    `json:"within"`
	Unless   string `json:"unless,omitempty"`
	Fires    string `json:"fires"`
	NearMiss string `json:"near_miss"`
}

// Families of attack.
var families = map[string]bool{
	"instruction_override": true, "role_manipulation": true, "system_prompt_extraction": true, "jailbreak": true,
	"data_exfiltration": true, "delimiter_spoofing": true, "obfuscation": true, "indirect": true,
}

// step is one element of a rule, ready to compare with a hit.
type step struct {
	rule    uint16
	at      uint8
	last    bool
	opening bool
}

// ruleset holds the rules by the concept that can advance them.
type ruleset struct {
	rules  []Rule
	within []int32 // bytes
	unless []uint64
	length []uint8
	by     [64][]step
}

// longestRule is the most steps a rule may have.
const longestRule = 4

func parseRules(data []byte, lex *lexicon) (*ruleset, error) {
	rs := &ruleset{}
	if err := json.Unmarshal(data, &rs.rules); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	seen := map[string]bool{}
	for i, r := range rs.rules {
		if seen[r.ID] || !families[r.Family] || r.Within <= 0 {
			return nil, fmt.Errorf("read rule %q: repeated, of no known family, or without a width", r.ID)
		}
		seen[r.ID] = true
		var unless uint64
		for name := range strings.FieldsSeq(r.Unless) {
			c, err := lex.concept(name)
			if err != nil {
				return nil, fmt.Errorf("read rule %q: %w", r.ID, err)
			}
			unless |= 1 << c
		}
		steps := strings.Fields(r.Seq)
		if len(steps) == 0 || len(steps) > longestRule {
			return nil, fmt.Errorf("read rule %q: %d steps", r.ID, len(steps))
		}
		for k, st := range steps {
			name, opening := strings.CutPrefix(st, "^")
			for alt := range strings.SplitSeq(name, "|") {
				c, err := lex.concept(alt)
				if err != nil {
					return nil, fmt.Errorf("read rule %q: %w", r.ID, err)
				}
				rs.by[c] = append(rs.by[c], step{uint16(i), uint8(k), k == len(steps)-1, opening})
			}
		}
		rs.within = append(rs.within, int32(r.Within*10))
		rs.unless = append(rs.unless, unless)
		rs.length = append(rs.length, uint8(len(steps)))
	}
	// Later steps first: one hit must not advance a rule twice.
	for c := range rs.by {
		st := rs.by[c]
		for i := 1; i < len(st); i++ {
			for j := i; j > 0 && st[j-1].at < st[j].at; j-- {
				st[j-1], st[j] = st[j], st[j-1]
			}
		}
	}
	return rs, nil
}

// progress is how far a rule has come: where the steps so far began, and in
// which segment, or -1.
type progress struct {
	start [longestRule]int32 // byte where the sequence that reached this step began
	tok   [longestRule]int32
	seg   [longestRule]int32
}

// firing is a rule over tokens [first,last), from segment seg to segment end.
type firing struct {
	rule        uint16
	first, last int32
	seg, end    int32
}

// run advances the rules by the hits of segment seg.
func (s *scan) run(seg int) {
	rs := s.rules
	var mask uint64
	for _, h := range s.hits[s.segHits:] {
		mask |= 1 << h.c
	}
	for _, h := range s.hits[s.segHits:] {
		at := int32(s.toks[h.first].start)
		end := int32(s.toks[h.last-1].end)
		for _, st := range rs.by[h.c] {
			if st.opening && !h.opening {
				continue
			}
			p := &s.prog[st.rule]
			first, begin, from := int32(h.first), at, int32(seg)
			if st.at > 0 {
				k := st.at - 1
				if p.seg[k] < int32(seg)-1 || p.start[k] < 0 || end-p.start[k] > rs.within[st.rule] || int32(h.first) <= p.tok[k] && p.start[k] == at {
					continue
				}
				first, begin, from = p.tok[k], p.start[k], p.seg[k]
			}
			if !st.last {
				p.start[st.at], p.tok[st.at], p.seg[st.at] = begin, first, from
				continue
			}
			if mask&rs.unless[st.rule] != 0 {
				continue
			}
			if n := len(s.fired); n > 0 && s.lastFired[st.rule] == int32(seg)+1 {
				continue // once a sentence
			}
			s.lastFired[st.rule] = int32(seg) + 1
			s.fired = append(s.fired, firing{st.rule, first, int32(h.last), from, int32(seg)})
		}
	}
}
