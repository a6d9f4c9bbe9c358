package shield

import (
	"context"
	"errors"
	"net/netip"
	"sort"
	"sync"
	"time"
)

// BlockStore is what replicas share. Every method is safe for concurrent use
// and obeys its context. A store that can tell of changes at once also
// implements Waker; otherwise it is polled every Config.Poll.
type BlockStore interface {
	// Put adds the block or replaces the one on the same prefix, unless that
	// one outlasts an automatic newcomer (Block.Owner == Automatic and an
	// earlier Until): then nothing changes and the error is nil.
	Put(ctx context.Context, b Block) error
	// Lift ends the block on exactly this prefix. ErrNotBlocked when there is none.
	Lift(ctx context.Context, p netip.Prefix, by string) error
	// List returns the blocks that hold at now.
	List(ctx context.Context, now time.Time) ([]Block, error)
	// Since returns the changes after cursor, oldest first, and the cursor to
	// ask with next. Cursor 0 is the beginning. It must not skip a change that
	// becomes visible later with an earlier place; repeating one is harmless.
	// ErrCursor when the changes after cursor are no longer kept: the caller
	// lists instead, and goes on from the returned cursor.
	Since(ctx context.Context, cursor int64) (changes []Change, next int64, err error)
}

// Waker is a store that announces changes. The channel is closed at the next
// change after the call.
type Waker interface{ Wake() <-chan struct{} }

// Change is one step in a store's history.
type Change struct {
	Block  Block // when lifted, only Prefix counts
	Lifted bool
	By     string // who lifted
}

// ErrNotBlocked is returned by Lift for a prefix that carries no block.
var ErrNotBlocked = errors.New("prefix is not blocked")

// ErrCursor is returned by Since when its cursor is too old.
var ErrCursor = errors.New("changes after this cursor are no longer kept")

// kept is how many changes a MemoryStore remembers.
const kept = 4096

// MemoryStore is a BlockStore for the replicas of one process.
type MemoryStore struct {
	now func() time.Time

	mu      sync.Mutex
	blocks  map[netip.Prefix]Block
	crowd   int // how many blocks make it worth looking for ended ones
	changes []Change
	first   int64 // the cursor before changes[0]
	wake    chan struct{}
}

// NewMemoryStore returns an empty store; now is nil for time.Now.
func NewMemoryStore(now func() time.Time) *MemoryStore {
	if now == nil {
		now = time.Now
	}
	return &MemoryStore{now: now, blocks: map[netip.Prefix]Block{}, wake: make(chan struct{})}
}

// Put implements BlockStore.
func (m *MemoryStore) Put(ctx context.Context, b Block) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if old, ok := m.blocks[b.Prefix]; ok && old.Active(now) && old.outlasts(b) {
		return nil
	}
	if len(m.blocks) >= m.crowd {
		for p, old := range m.blocks {
			if !old.Active(now) {
				delete(m.blocks, p)
			}
		}
		m.crowd = 2*len(m.blocks) + 1024
	}
	m.blocks[b.Prefix] = b
	m.append(Change{Block: b})
	return nil
}

// Lift implements BlockStore.
func (m *MemoryStore) Lift(ctx context.Context, p netip.Prefix, by string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.blocks[p]; !ok || !b.Active(m.now()) {
		return ErrNotBlocked
	}
	delete(m.blocks, p)
	m.append(Change{Block: Block{Prefix: p}, Lifted: true, By: by})
	return nil
}

// List implements BlockStore; blocks are in order of their prefix.
func (m *MemoryStore) List(ctx context.Context, now time.Time) ([]Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Block
	for _, b := range m.blocks {
		if b.Active(now) {
			all = append(all, b)
		}
	}
	sortBlocks(all)
	return all, nil
}

// Since implements BlockStore.
func (m *MemoryStore) Since(ctx context.Context, cursor int64) ([]Change, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, cursor, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.first + int64(len(m.changes))
	if cursor < m.first || cursor > next {
		return nil, next, ErrCursor
	}
	return append([]Change(nil), m.changes[cursor-m.first:]...), next, nil
}

// Wake implements Waker.
func (m *MemoryStore) Wake() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wake
}

func (m *MemoryStore) append(c Change) {
	m.changes = append(m.changes, c)
	if over := len(m.changes) - kept; over > kept {
		m.changes = append([]Change(nil), m.changes[over:]...)
		m.first += int64(over)
	}
	close(m.wake)
	m.wake = make(chan struct{})
}

func sortBlocks(all []Block) {
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i].Prefix, all[j].Prefix
		if a.Addr() != b.Addr() {
			return a.Addr().Less(b.Addr())
		}
		return a.Bits() < b.Bits()
	})
}
