package fold

// leet reads digits and signs inside a word as the letters they are drawn
// like, if that gives a common word.
func (t *Text) leet(i int) (dec []byte, z int) {
	b := t.Bytes
	alpha, odd := 0, 0
	t.work += 24
	for z = i; z < len(b) && z-i < 24; z++ {
		c := b[z]
		if isAlpha(c) {
			alpha++
		} else if leetLetter[c] != 0 && (isDigit(c) || c == '$' || z+1 < len(b) && isWord(b[z+1])) {
			odd++
		} else {
			break
		}
	}
	if odd == 0 || alpha == 0 || z-i < 3 || z < len(b) && isWord(b[z]) || alpha*3 < z-i {
		return nil, 0
	}
	for _, one := range [...]byte{'i', 'l'} {
		s := t.scratch[:0]
		for _, c := range b[i:z] {
			switch {
			case c == '1' || c == '|' || c == '!':
				c = one
			case leetLetter[c] != 0:
				c = leetLetter[c]
			}
			s = append(s, c)
		}
		t.scratch = s
		if Common(s) {
			return s, z
		}
	}
	return nil, 0
}

// leetSpan is how far one look for leet words goes, in bytes.
const leetSpan = 512

// lookForLeet looks at the words from i, where Runs[at] is the first that begins
// there or later: where at least two are common ones in
// leet, and a third of those that mix letters and digits, the rest is leet too,
// whether a common word or not.
func (t *Text) lookForLeet(i, at int) {
	b, runs := t.Bytes, t.Runs
	t.leetLook = min(len(b), i+leetSpan)
	known, alike := 0, 0
	for k := i; k < t.leetLook; {
		if !isWord(b[k]) {
			k++
			continue
		}
		for at < len(runs) && int(runs[at].Start) < k {
			at++
		}
		if at < len(runs) && int(runs[at].Start) == k {
			if c := b[:cap(b)][runs[at].End]; !isWord(c) && leetLetter[c] == 0 {
				k = int(runs[at].End)
				at++
				continue
			}
		}
		e, has := span(b, k)
		t.work += e - k
		if has&(hasDigit|hasHigh) != 0 || e < len(b) && leetLetter[b[e]] != 0 {
			if _, z := t.leet(k); z > 0 {
				known++
				k = z
				continue
			}
			if _, z := t.leetAlike(k); z > 0 {
				alike++
			}
		}
		k = e
	}
	if known >= 2 && known*2 >= alike {
		t.leetEnd = t.leetLook
	}
}

// leetAlike reads the word at i as leet, whatever comes out, if it mixes letters
// with the digits that leet writes. Ordinals are none.
func (t *Text) leetAlike(i int) (dec []byte, z int) {
	b := t.Bytes
	s := t.scratch[:0]
	letters, digits, tail := 0, 0, 0
	for z = i; z < len(b) && z-i < 32 && isWord(b[z]); z++ {
		c := b[z]
		switch {
		case !isDigit(c):
			letters++
			tail++
		case c == '2' || c == '9':
			t.scratch = s
			return nil, 0
		default:
			digits++
			tail = 0
			c = leetLetter[c]
		}
		s = append(s, c)
	}
	t.scratch = s
	if letters == 0 && (string(s) == "a" || string(s) == "is" || string(s) == "as") && (z >= len(b) || isSpace(b[z])) && (i == 0 || b[i-1] == ' ') {
		return s, z
	}
	if digits == 0 || letters == 0 || letters*3 < z-i || z < len(b) && isWord(b[z]) {
		return nil, 0
	}
	if tail == 2 && letters == 2 { // 13th, 31st
		switch string(b[z-2 : z]) {
		case "th", "st", "nd", "rd":
			return nil, 0
		}
	}
	return s, z
}

var leetLetter = [256]byte{'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g',
	'@': 'a', '$': 's', '!': 'i', '|': 'i', '+': 't', '(': 'c'}
