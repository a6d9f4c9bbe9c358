package witness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const maxWitnesses = 64

// Policy is Quorum of these witnesses.
type Policy struct {
	Witnesses []*Witness
	Quorum    int
	Timeout   time.Duration // for each witness; 0 means 10 s
}

// ParsePolicy reads a C2SP tlog-policy: lines
//
//	witness <name> <vkey> <url>
//	group <name> <k|any|all> <witness>...
//	quorum <name>|none
//
// with # comments. One group may be named, which has all witnesses in it: a
// quorum here is a number of equals. Lines for logs are passed over.
func ParsePolicy(text string, transport http.RoundTripper) (Policy, error) {
	var p Policy
	var names, group []string
	k, quorum := 0, ""
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		bad := func(want string) (Policy, error) {
			return Policy{}, fmt.Errorf("reading the witness policy: line %d: want %s", i+1, want)
		}
		switch {
		case len(f) == 0 || f[0] == "log":
		case f[0] == "witness":
			if len(f) != 4 || slices.Contains(names, f[1]) || len(names) == maxWitnesses {
				return bad("witness NAME VKEY URL, each name once")
			}
			w, err := New(f[3], f[2], transport)
			if err != nil {
				return Policy{}, fmt.Errorf("reading the witness policy: line %d: %w", i+1, err)
			}
			if slices.ContainsFunc(p.Witnesses, func(o *Witness) bool { return o.Name() == w.Name() }) {
				return bad("a key of its own for each witness")
			}
			names, p.Witnesses = append(names, f[1]), append(p.Witnesses, w)
		case f[0] == "group":
			if len(f) < 4 || group != nil {
				return bad("one group NAME k|any|all WITNESS...")
			}
			group = f[1:2:2]
			group = append(group, f[3:]...)
			switch f[2] {
			case "any":
				k = 1
			case "all":
				k = len(f) - 3
			default:
				n, err := strconv.Atoi(f[2])
				if err != nil || n < 1 || n > len(f)-3 {
					return bad("a group of 1 to all of its witnesses")
				}
				k = n
			}
		case f[0] == "quorum":
			if len(f) != 2 || quorum != "" {
				return bad("one quorum NAME or quorum none")
			}
			quorum = f[1]
		default:
			return bad("witness, group or quorum")
		}
	}
	switch {
	case len(names) == 0:
		return Policy{}, errors.New("reading the witness policy: it names no witness")
	case quorum == "none":
	case group != nil && quorum == group[0]:
		members := slices.Clone(group[1:])
		slices.Sort(members)
		slices.Sort(names)
		if !slices.Equal(members, names) {
			return Policy{}, errors.New("reading the witness policy: the quorum's group must have every witness, each once")
		}
		p.Quorum = k
	case len(names) == 1 && quorum == names[0]:
		p.Quorum = 1
	default:
		return Policy{}, fmt.Errorf("reading the witness policy: quorum %q is neither none nor the group of all witnesses", quorum)
	}
	return p, nil
}

// Cosignature is a witness's verified line and its own time.
type Cosignature struct {
	Witness string
	Line    string
	At      time.Time
}

// Answer is what became of asking one witness; Err is nil with a cosignature.
type Answer struct {
	Cosignature
	Err error
}

// Ask asks all witnesses at once and gives their answers in the policy's order.
// old tells what each is believed to have seen.
func (p Policy) Ask(ctx context.Context, signed []byte, size int64, old func(witness string) int64, prove Prover) []Answer {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := make([]Answer, len(p.Witnesses))
	var wait sync.WaitGroup
	for i, w := range p.Witnesses {
		wait.Go(func() {
			line, at, err := w.Cosign(ctx, signed, size, old(w.Name()), prove)
			out[i] = Answer{Cosignature{w.Name(), line, at}, err}
		})
	}
	wait.Wait()
	return out
}

// Cosign is Ask and a judgement: what came, and an error that wraps ErrQuorum
// when that is too little, and ErrAhead or ErrFork whenever any witness said so,
// even with a quorum: it is evidence, not noise.
func (p Policy) Cosign(ctx context.Context, signed []byte, size int64, old func(witness string) int64, prove Prover) ([]Cosignature, error) {
	var out []Cosignature
	var alarm, all []error
	for _, a := range p.Ask(ctx, signed, size, old, prove) {
		if a.Err == nil {
			out = append(out, a.Cosignature)
		} else if all = append(all, a.Err); errors.Is(a.Err, ErrAhead) || errors.Is(a.Err, ErrFork) {
			alarm = append(alarm, a.Err)
		}
	}
	if len(out) < p.Quorum {
		return out, fmt.Errorf("cosigning size %d: %w: %d of %d: %w", size, ErrQuorum, len(out), p.Quorum, errors.Join(all...))
	}
	return out, errors.Join(alarm...)
}
