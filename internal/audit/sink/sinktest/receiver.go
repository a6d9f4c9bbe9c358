package sinktest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// Book is what a receiver took, by tenant and number, and what was wrong with
// what arrived.
type Book struct {
	mu     sync.Mutex
	seen   map[string]map[int64]int
	wrong  []string
	change chan struct{}
}

func newBook() *Book { return &Book{seen: map[string]map[int64]int{}, change: make(chan struct{})} }

func (b *Book) take(tenant string, seq int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[tenant] == nil {
		b.seen[tenant] = map[int64]int{}
	}
	b.seen[tenant][seq]++
	close(b.change)
	b.change = make(chan struct{})
}

func (b *Book) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wrong) < 20 {
		b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
	}
}

// Wrong is what broke a standard.
func (b *Book) Wrong() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.wrong)
}

// Tally is how many of 1 to last arrived of a tenant's, and how many more than
// once.
func (b *Book) Tally(tenant string, last int64) (arrived, twice int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for seq, n := range b.seen[tenant] {
		if seq <= last {
			arrived++
			if n > 1 {
				twice++
			}
		}
	}
	return arrived, twice
}

// Arrived is how many deliveries of events there were, of all tenants.
func (b *Book) Arrived() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, seqs := range b.seen {
		for _, times := range seqs {
			n += times
		}
	}
	return n
}

// Await waits until all of 1 to last arrived.
func (b *Book) Await(t testing.TB, tenant string, last int64) {
	t.Helper()
	late := time.After(60 * time.Second)
	for {
		b.mu.Lock()
		change := b.change
		b.mu.Unlock()
		n, _ := b.Tally(tenant, last)
		if n == last {
			return
		}
		select {
		case <-change:
		case <-late:
			t.Fatalf("%d of %d events arrived; wrong: %q", n, last, b.Wrong())
		}
	}
}

// AwaitSome waits until at least n events of a tenant arrived.
func (b *Book) AwaitSome(t testing.TB, tenant string, n int64) {
	t.Helper()
	late := time.After(60 * time.Second)
	for {
		b.mu.Lock()
		change := b.change
		b.mu.Unlock()
		if got, _ := b.Tally(tenant, 1<<62); got >= n {
			return
		}
		select {
		case <-change:
		case <-late:
			t.Fatalf("fewer than %d events arrived; wrong: %q", n, b.Wrong())
		}
	}
}
