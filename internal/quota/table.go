package quota

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

// Table is a whole tiers file, checked. It never changes.
type Table struct {
	tiers   map[string]*Tier
	classes map[string]bool
	plans   map[planKey]*Plan
}

type planKey struct{ tier, class string }

func (r *rawTable) compile() (*Table, error) {
	t := &Table{tiers: map[string]*Tier{}, classes: map[string]bool{}, plans: map[planKey]*Plan{}}
	for _, c := range r.classes {
		t.classes[c] = true
	}
	for i := range r.tiers {
		tier := &r.tiers[i]
		t.tiers[tier.Name] = tier
		for _, c := range r.classes {
			t.plans[planKey{tier.Name, c}] = newPlan(*tier, c)
		}
	}
	if len(t.tiers) == 0 {
		return nil, &LineError{Reason: "no tier is given"}
	}
	return t, nil
}

// Class parses a class name; one that is not in the table is refused.
func (t *Table) Class(name string) (Class, error) {
	if !t.classes[name] {
		return Class{}, fmt.Errorf("quota: unknown limit class %q", name)
	}
	return Class{name: name}, nil
}

// Plan finds what holds for a tier in a class. Unknown names are refused.
func (t *Table) Plan(tier string, c Class) (*Plan, error) {
	if p := t.plans[planKey{tier, c.name}]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("quota: no limits for tier %q in class %q", tier, c.name)
}

// Tier returns one row, for its sandbox numbers and for showing. Its map must
// not be changed.
func (t *Table) Tier(name string) (Tier, error) {
	if r := t.tiers[name]; r != nil {
		return *r, nil
	}
	return Tier{}, fmt.Errorf("quota: unknown tier %q", name)
}

// Tiers lists the names, sorted.
func (t *Table) Tiers() []string { return sortedKeys(t.tiers) }

// Classes lists the names, sorted.
func (t *Table) Classes() []string { return sortedKeys(t.classes) }

// SwitchedOff lists the tier/class pairs whose limits are off, for the
// checklist.
func (t *Table) SwitchedOff() []string {
	var out []string
	for name, tier := range t.tiers {
		if tier.Tenant.Mode == Off {
			out = append(out, name+"/tenant")
		}
		if tier.User.Mode == Off {
			out = append(out, name+"/user")
		}
		for class, c := range tier.Classes {
			if c.Mode == Off || c.Tenant.Mode == Off || c.User.Mode == Off {
				out = append(out, name+"/"+class)
			}
		}
	}
	sort.Strings(out)
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// Tiers is the table in force. Reading it takes no lock; Load replaces it
// whole or not at all.
type Tiers struct {
	table atomic.Pointer[Table]
	mu    sync.Mutex // orders Loads
	sum   [32]byte
	admit func(digest string, put func()) error
}

// Gate has every later change of the table pass through f, which puts it in
// force by calling put, or refuses it with an error.
func (t *Tiers) Gate(f func(digest string, put func()) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.admit = f
}

// NewTiers starts with the embedded table.
func NewTiers() *Tiers {
	t := &Tiers{sum: sha256.Sum256(defaultTiers)}
	t.table.Store(DefaultTable())
	return t
}

// Table is the one in force now. Use one Table for one request.
func (t *Tiers) Table() *Table { return t.table.Load() }

// Digest is the SHA-256 of the file in force, in hex, for CONFIG_CHANGED.
func (t *Tiers) Digest() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return hex.EncodeToString(t.sum[:])
}

// Load puts a new table in force and reports whether anything changed. A wrong
// text, or one without a tier or a class that the table in force has (tenants
// and routes may stand on it), is refused with a *LineError and changes nothing.
func (t *Tiers) Load(text []byte) (changed bool, err error) {
	next, err := ParseTable(text)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := sha256.Sum256(text)
	if bytes.Equal(sum[:], t.sum[:]) {
		return false, nil
	}
	old := t.table.Load()
	for name := range old.tiers {
		if next.tiers[name] == nil {
			return false, &LineError{Reason: fmt.Sprintf("tier %q is in use and missing here", name)}
		}
	}
	for name := range old.classes {
		if !next.classes[name] {
			return false, &LineError{Reason: fmt.Sprintf("class %q is in use and missing here", name)}
		}
	}
	put := func() {
		t.table.Store(next)
		t.sum = sum
		changed = true
	}
	if t.admit != nil {
		err := t.admit(hex.EncodeToString(sum[:]), put)
		return changed, err
	}
	put()
	return true, nil
}
