package merkle

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func leaf(i int64) tlog.Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// grow appends n leaves in batches of odd sizes.
func grow(t testing.TB, n int64) (*Memory, *Frontier) {
	t.Helper()
	m, f := new(Memory), new(Frontier)
	for f.Size() < n {
		batch := make([]tlog.Hash, min(n-f.Size(), 1+f.Size()*7%4099))
		for i := range batch {
			batch[i] = leaf(f.Size() + int64(i))
		}
		if err := m.Append(batch, f.Append(nil, batch...)); err != nil {
			t.Fatal(err)
		}
	}
	return m, f
}

// reference is x/mod's own storage of every level.
type reference []tlog.Hash

func (r reference) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = r[index]
	}
	return out, nil
}

// Trees of every size up to 600 agree with x/mod in root, inclusion,
// consistency and range, and the frontier survives storage.
func TestAgainstReference(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const most = 600
	m := new(Memory)
	f := new(Frontier)
	var ref reference
	trees := []tlog.Tree{f.Tree()}
	for n := int64(0); n < most; n++ {
		if err := m.Append([]tlog.Hash{leaf(n)}, f.Append(nil, leaf(n))); err != nil {
			t.Fatal(err)
		}
		hashes, err := tlog.StoredHashesForRecordHash(n, leaf(n), ref)
		if err != nil {
			t.Fatal(err)
		}
		ref = append(ref, hashes...)
		want, err := tlog.TreeHash(n+1, ref)
		if err != nil || f.Tree() != (tlog.Tree{N: n + 1, Hash: want}) {
			t.Fatalf("size %d: another root than x/mod (%v)", n+1, err)
		}
		b, _ := f.MarshalBinary()
		f = new(Frontier)
		if err := f.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, f.Tree())
		p := Prover{m, f.Tree()}
		if again, err := p.Rebuild(ctx); err != nil || again.Tree() != f.Tree() {
			t.Fatalf("size %d: rebuilt another tree: %v", n+1, err)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		size := 1 + rng.Int64N(most)
		p := Prover{m, trees[size]}
		i := rng.Int64N(size)
		proof, err := p.Inclusion(ctx, i)
		if err != nil || tlog.CheckRecord(proof, size, p.Tree.Hash, i, leaf(i)) != nil {
			t.Fatalf("leaf %d of %d: %v", i, size, err)
		}
		old := trees[rng.Int64N(size+1)]
		grown, err := p.Consistency(ctx, old.N)
		if err != nil || old.N > 0 && tlog.CheckTree(grown, size, p.Tree.Hash, old.N, old.Hash) != nil {
			t.Fatalf("%d to %d: %v", old.N, size, err)
		}
		to := i + rng.Int64N(size-i+1)
		left, right, err := p.Range(ctx, i, to)
		if err != nil {
			t.Fatal(err)
		}
		indexes := append(cover(nil, 0, i), cover(nil, to, size)...)
		want, _ := ref.ReadHashes(indexes)
		for k, h := range append(append([]tlog.Hash(nil), left...), right...) {
			if h != want[k] {
				t.Fatalf("range %d to %d of %d: hash %d differs", i, to, size, k)
			}
		}
	}
}

// Higher tiles: levels 8 and 16 are exercised by more than 65,536 leaves.
func TestDeepTree(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const n = 200_001
	m, f := grow(t, n)
	p := Prover{m, f.Tree()}
	for _, i := range []int64{0, 1, 255, 256, 65535, 65536, 131071, 131072, 196607, 196608, n - 2, n - 1} {
		proof, err := p.Inclusion(ctx, i)
		if err != nil || tlog.CheckRecord(proof, n, p.Tree.Hash, i, leaf(i)) != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	for _, size := range []int64{1, 255, 256, 257, 65536, 65537, 131072, 200_000, n} {
		_, old := grow(t, size)
		if root, err := p.Root(ctx, size); err != nil || root != old.Tree() {
			t.Errorf("root of %d: %v", size, err)
		}
		if _, err := p.Consistency(ctx, size); err != nil {
			t.Errorf("from %d: %v", size, err)
		}
	}
}

// Whichever stored hash is altered, every proof that would use it is refused.
func TestCorruptStorage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const n = 66_000
	clean, f := grow(t, n)
	_, half := grow(t, 40_000)
	halfRoot := half.Tree().Hash
	rng := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		m := &Memory{}
		for l := range clean.levels {
			m.levels[l] = append([]tlog.Hash(nil), clean.levels[l]...)
		}
		level := rng.IntN(3)
		at := rng.IntN(len(m.levels[level]))
		m.levels[level][at][rng.IntN(32)] ^= 1
		p := Prover{m, f.Tree()}
		index := int64(at) << (8 * level)
		if level == 0 {
			if _, err := p.Inclusion(ctx, index); !errors.Is(err, ErrCorrupt) {
				t.Errorf("leaf %d altered: got %v", at, err)
			}
		}
		for _, i := range []int64{0, 39_999, 65_535, 65_999} {
			proof, err := p.Inclusion(ctx, i)
			if err == nil && tlog.CheckRecord(proof, n, p.Tree.Hash, i, leaf(i)) != nil || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("level %d hash %d altered: proof of %d: %v", level, at, i, err)
			}
		}
		if proof, err := p.Consistency(ctx, 40_000); err == nil {
			old, _ := p.Root(ctx, 40_000)
			if tlog.CheckTree(proof, n, p.Tree.Hash, 40_000, halfRoot) != nil && old.Hash == halfRoot {
				t.Error("gave out a bad consistency proof")
			}
		}
	}
	// Another root than storage's: nothing may be built on it.
	other := Prover{clean, tlog.Tree{N: n, Hash: leaf(1)}}
	if _, err := other.Rebuild(ctx); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rebuilt under a foreign root: %v", err)
	}
	// A tail cut off.
	short, _ := grow(t, n-1)
	if _, err := (Prover{short, f.Tree()}).Rebuild(ctx); !errors.Is(err, ErrCorrupt) {
		t.Errorf("rebuilt from a cut tail: %v", err)
	}
}

func TestOutOfRange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	m, f := grow(t, 300)
	p := Prover{m, f.Tree()}
	for _, i := range []int64{-1, 300, 1 << 62} {
		if _, err := p.Inclusion(ctx, i); err == nil {
			t.Errorf("proved leaf %d of 300", i)
		}
	}
	for _, r := range [][2]int64{{-1, 3}, {5, 4}, {0, 301}} {
		if _, _, err := p.Range(ctx, r[0], r[1]); err == nil {
			t.Errorf("proved %v of 300", r)
		}
	}
	if _, err := p.Consistency(ctx, 301); err == nil {
		t.Error("proved growth from a larger tree")
	}
	if err := m.Append(nil, []Node{{Level: 8, Index: 7}}); err == nil {
		t.Error("stored a node out of order")
	}
}

func FuzzUnmarshal(f *testing.F) {
	_, g := grow(f, 37)
	b, _ := g.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Frontier
		if g.UnmarshalBinary(b) != nil {
			return
		}
		again, _ := g.MarshalBinary()
		if string(again) != string(b) {
			t.Fatalf("%x came back as %x", b, again)
		}
		g.Tree()
	})
}

var tenMillion = sync.OnceValue(func() Prover {
	m, f := new(Memory), new(Frontier)
	batch := make([]tlog.Hash, 10_000)
	for f.Size() < 10_000_000 {
		for i := range batch {
			batch[i] = leaf(f.Size() + int64(i))
		}
		if err := m.Append(batch, f.Append(nil, batch...)); err != nil {
			panic(err)
		}
	}
	return Prover{m, f.Tree()}
})

func BenchmarkAppend(b *testing.B) {
	m, f := new(Memory), new(Frontier)
	batch := make([]tlog.Hash, 10_000)
	for i := range batch {
		batch[i] = leaf(int64(i))
	}
	var nodes []Node
	b.ReportAllocs()
	for b.Loop() {
		nodes = f.Append(nodes[:0], batch...)
		if err := m.Append(nil, nodes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "leaves/s")
}

func BenchmarkInclusion10M(b *testing.B) {
	p := tenMillion()
	rng := rand.New(rand.NewPCG(7, 8))
	var size int
	b.ReportAllocs()
	for b.Loop() {
		proof, err := p.Inclusion(context.Background(), rng.Int64N(p.Tree.N))
		if err != nil {
			b.Fatal(err)
		}
		size = max(size, len(proof)*tlog.HashSize)
	}
	b.ReportMetric(float64(size), "proof-bytes")
}

func BenchmarkConsistency10M(b *testing.B) {
	p := tenMillion()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Consistency(context.Background(), 7_777_777); err != nil {
			b.Fatal(err)
		}
	}
}
