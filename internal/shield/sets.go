package shield

import "unsafe"

// piece is how many sets of a table lie together: some 256 KiB.
const piece = 1 << 9

// sets are a table's slots, in pieces, because a table is large and mostly
// untouched. The runtime puts new memory beside what was used before, and clears
// all of it if any of it was used: as one piece, a table of 64 MiB was resident
// after most starts before it held one client. Only what is used ought to be.
type sets[T any] struct {
	n      int
	pieces [][][ways]T
}

// newSets has room for at least so many slots.
func newSets[T any](slots int) sets[T] {
	s := sets[T]{n: max(1, (slots+ways-1)/ways)}
	for left := s.n; left > 0; left -= piece {
		s.pieces = append(s.pieces, make([][ways]T, min(piece, left)))
	}
	return s
}

func (s *sets[T]) at(i int) *[ways]T { return &s.pieces[i/piece][i%piece] }

func (s *sets[T]) bytes() int { return s.n * int(unsafe.Sizeof([ways]T{})) }
