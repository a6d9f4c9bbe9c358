package password

import (
	"math"
	"strings"
	"unicode"
)

// The estimate follows Wheeler, "zxcvbn: Low-Budget Password Strength
// Estimation" (USENIX Security 2016), reduced to what a server needs: the
// cheapest way to put the password together from pieces that an attacker has
// ready, in bits.

// maxWord is the longest dictionary piece, in characters.
const maxWord = 24

// bits estimates a password in NFKC form of at most MaxLength characters.
func bits(password string, about map[string]bool) float64 {
	e := estimator{about: about}
	return e.cost([]rune(strings.ToLower(password)), true)
}

type estimator struct{ about map[string]bool }

// cost is the shortest path through s, where best[i] is the price of s[:i].
func (e *estimator) cost(s []rune, repeats bool) float64 {
	plain := unleet(s)
	best := make([]float64, len(s)+1)
	for i := range best {
		best[i] = math.Inf(1)
	}
	best[0] = 0
	for i := range s {
		step := func(n int, price float64) { best[i+n] = min(best[i+n], best[i]+price) }
		step(1, single(s[i]))
		e.dictionary(s[i:], 0, step)
		e.dictionary(plain[i:], 1, step)
		run(s[i:], step)
		keyboard(s[i:], step)
		year(s[i:], step)
		if repeats {
			e.repeat(s[i:], step)
		}
	}
	return best[len(s)]
}

func single(r rune) float64 {
	switch {
	case '0' <= r && r <= '9':
		return 3.3
	case 'a' <= r && r <= 'z':
		return 4.7
	case r < 0x80:
		return 5
	case unicode.IsLetter(r):
		return 6
	}
	return 8
}

// dictionary offers known passwords at the price of their rank, and what is
// known about the account for next to nothing.
func (e *estimator) dictionary(s []rune, extra float64, step func(int, float64)) {
	h := newHash()
	for n := 1; n <= len(s) && n <= maxWord; n++ {
		h.add(s[n-1])
		if n < 3 {
			continue
		}
		if rank, ok := common().rank(h); ok {
			step(n, math.Log2(float64(rank)+2)+extra)
		}
		if e.about[string(s[:n])] {
			step(n, 1+extra)
		}
	}
}

// run offers aaaa, abcd and 9876.
func run(s []rune, step func(int, float64)) {
	if len(s) < 3 {
		return
	}
	d := s[1] - s[0]
	if d < -1 || d > 1 {
		return
	}
	for n := 2; n < len(s) && s[n]-s[n-1] == d; n++ {
		step(n+1, 4+math.Log2(float64(n+1)))
	}
}

// rows are the keyboards people run along; a column is the same place in the
// next row.
var keyboards = [][]string{
	{"`1234567890-=", "\x00qwertyuiop[]", "\x00asdfghjkl;'", "\x00zxcvbnm,./"},
	{"~!@#$%^&*()_+", "\x00qwertyuiop{}", "\x00asdfghjkl:\"", "\x00zxcvbnm<>?"},
	{"^1234567890ß´", "\x00qwertzuiopü+", "\x00asdfghjklöä", "\x00yxcvbnm,.-"},
	{"²&é\"'(-è_çà)=", "\x00azertyuiop^$", "\x00qsdfghjklmù", "\x00wxcvbn,;:!"},
	{"\x00789", "\x00456", "\x00123", "\x00\x000"},
}

type place struct{ row, col int }

var places = func() []map[rune]place {
	all := make([]map[rune]place, len(keyboards))
	for k, board := range keyboards {
		all[k] = make(map[rune]place)
		for row, keys := range board {
			for col, r := range []rune(keys) {
				if r != 0 {
					all[k][r] = place{row, col}
				}
			}
		}
	}
	return all
}()

// keyboard offers walks over neighbouring keys; each turn costs.
func keyboard(s []rune, step func(int, float64)) {
	for _, board := range places {
		at, ok := board[s[0]]
		var way place
		turns := 0
		for n := 1; ok && n < len(s); n++ {
			next, known := board[s[n]]
			d := place{next.row - at.row, next.col - at.col}
			if !known || d == (place{}) || d.row < -1 || d.row > 1 || d.col < -1 || d.col > 1 {
				break
			}
			if d != way {
				turns++
			}
			at, way = next, d
			if n >= 3 {
				step(n+1, 4+2*float64(turns)+math.Log2(float64(n+1)))
			}
		}
	}
}

// year offers 1900 to 2059.
func year(s []rune, step func(int, float64)) {
	if len(s) < 4 {
		return
	}
	y := 0
	for _, r := range s[:4] {
		if r < '0' || r > '9' {
			return
		}
		y = y*10 + int(r-'0')
	}
	if 1900 <= y && y < 2060 {
		step(4, 6.6)
	}
}

// repeat offers a block that comes again at once, for the price of the block and
// the count. Only the shortest block is tried: abab is two ab, not one abab.
func (e *estimator) repeat(s []rune, step func(int, float64)) {
	for p := 1; 2*p <= len(s); p++ {
		n := p
		for n < len(s) && s[n] == s[n-p] {
			n++
		}
		if n < 2*p {
			continue
		}
		block := e.cost(s[:p], false)
		for k := 2; k*p <= n; k++ {
			step(k*p, block+1+math.Log2(float64(k)))
		}
		return
	}
}

// unleet undoes the substitutions everybody knows.
func unleet(s []rune) []rune {
	out := make([]rune, len(s))
	for i, r := range s {
		switch r {
		case '0':
			r = 'o'
		case '1', '!', '|':
			r = 'i'
		case '3', '€':
			r = 'e'
		case '4', '@':
			r = 'a'
		case '5', '$':
			r = 's'
		case '7', '+':
			r = 't'
		case '8':
			r = 'b'
		case '9':
			r = 'g'
		}
		out[i] = r
	}
	return out
}
