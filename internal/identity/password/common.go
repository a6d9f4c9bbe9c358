package password

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // common.txt.gz
	"slices"
	"sync"
)

//go:generate go run ./gen package/src/passwords.json common.txt.gz

//go:embed common.txt.gz
var commonList []byte

// hash is 64-bit FNV-1a over code points. It is no protection: the list is
// public.
type hash uint64

func newHash() hash { return 14695981039346656037 }

func (h *hash) add(r rune) {
	for ; r != 0; r >>= 8 {
		*h = (*h ^ hash(r&0xff)) * 1099511628211
	}
}

// ranks holds 48 bits of hash and 16 of rank per password, in order: 240 KB for
// 30,000, a quarter of what a map takes. Two entries or a stranger's word share
// 48 bits once in a thousand million looks.
type ranks []uint64

// common unpacks the list on first use. A list that does not unpack is a broken
// build, which the package's tests find.
var common = sync.OnceValue(func() ranks {
	z, err := gzip.NewReader(bytes.NewReader(commonList))
	if err != nil {
		panic("password: embedded list: " + err.Error())
	}
	var all ranks
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		h := newHash()
		for _, r := range lines.Text() {
			h.add(r)
		}
		all = append(all, uint64(h)&^0xffff|uint64(len(all)))
	}
	if err := lines.Err(); err != nil {
		panic("password: embedded list: " + err.Error())
	}
	slices.Sort(all)
	return all
})

// rank is the place of a password in the list, 0 for the commonest.
func (rs ranks) rank(h hash) (int, bool) {
	key := uint64(h) &^ 0xffff
	i, _ := slices.BinarySearch(rs, key)
	if i < len(rs) && rs[i]&^0xffff == key {
		return int(rs[i] & 0xffff), true
	}
	return 0, false
}
