package postgres

import (
	"container/list"
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const (
	tileHashes = 1 << merkle.BlockHeight
	tilesKept  = 1024 // of 8 KiB: the upper levels of many logs, and what is asked for now
)

// tiles keeps what was read of trees, last used first. A stored hash never
// changes, so what a tile begins with never does either; every proof made of it
// is held against a signed root all the same.
type tiles struct {
	mu    sync.Mutex
	kept  map[tileKey]*list.Element
	order list.List
}

type tileKey struct {
	id    tenant.ID
	level int
	tile  int64
}

type tile struct {
	key    tileKey
	hashes []tlog.Hash // shared; nobody writes to it
}

func (t *tiles) get(k tileKey, n int) []tlog.Hash {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.kept[k]
	if e == nil || len(e.Value.(*tile).hashes) < n {
		return nil
	}
	t.order.MoveToFront(e)
	return e.Value.(*tile).hashes
}

func (t *tiles) put(k tileKey, hashes []tlog.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.kept[k]; e != nil {
		if len(e.Value.(*tile).hashes) < len(hashes) {
			e.Value.(*tile).hashes = hashes
		}
		return
	}
	if t.kept == nil {
		t.kept = map[tileKey]*list.Element{}
	}
	t.kept[k] = t.order.PushFront(&tile{k, hashes})
	if t.order.Len() > tilesKept {
		delete(t.kept, t.order.Remove(t.order.Back()).(*tile).key)
	}
}

// forget drops a tenant's tiles: they, or the tables, are not what was signed.
func (t *tiles) forget(id tenant.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Front(); e != nil; {
		next := e.Next()
		if k := e.Value.(*tile).key; k.id == id {
			delete(t.kept, k)
			t.order.Remove(e)
		}
		e = next
	}
}

// fetch reads the tiles that proofs for leaves need, and those that it does not
// have, in one round trip: each leaf's, and at the tree's edge, of each level. What
// is not there as it should be is left for the proof to stumble over.
func (k keptTree) fetch(ctx context.Context, s *Store, leaves ...int64) error {
	b := &pgx.Batch{}
	b.Queue(setTenant, k.id.String())
	for level := 0; k.size>>level > 0; level += merkle.BlockHeight {
		last := (k.size>>level - 1) / tileHashes
		tiles := []int64{last}
		for _, leaf := range leaves {
			tiles = append(tiles, min(leaf>>level/tileHashes, last))
		}
		slices.Sort(tiles)
		for _, at := range slices.Compact(tiles) {
			hashes := make([]tlog.Hash, min(k.size>>level-at*tileHashes, tileHashes))
			key := tileKey{k.id, level, at}
			if k.tiles.get(key, len(hashes)) != nil {
				continue
			}
			sql, args := k.ask(level, at*tileHashes, len(hashes))
			//sqllint:allow the tree's own statements are constants, which ask chooses from
			b.Queue(sql, args...).Query(func(r pgx.Rows) error {
				if err := fill(r, at*tileHashes, hashes); err == nil {
					k.tiles.put(key, hashes)
				}
				r.Close()
				return r.Err()
			})
		}
	}
	if b.Len() == 1 {
		return nil
	}
	return translate(s.pool.SendBatch(ctx, b).Close())
}

// keptTree is a tenant's tree of at least size leaves, by way of the tiles.
type keptTree struct {
	tree
	tiles *tiles
	id    tenant.ID
	size  int64
}

var _ merkle.Hashes = keptTree{}

// ReadHashes reads a whole tile, as far as the tree goes, for any part of it.
func (k keptTree) ReadHashes(ctx context.Context, level int, index int64, dst []tlog.Hash) error {
	key := tileKey{k.id, level, index / tileHashes}
	from := int(index % tileHashes)
	there := int(min(k.size>>level-key.tile*tileHashes, tileHashes))
	if from+len(dst) > there {
		return k.tree.ReadHashes(ctx, level, index, dst)
	}
	hashes := k.tiles.get(key, from+len(dst))
	if hashes == nil {
		hashes = make([]tlog.Hash, there)
		if err := k.tree.ReadHashes(ctx, level, key.tile*tileHashes, hashes); err != nil {
			return err
		}
		k.tiles.put(key, hashes)
	}
	copy(dst, hashes[from:])
	return nil
}
