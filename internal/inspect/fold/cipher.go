package fold

import "unicode/utf8"

// spaced joins letters written one by one ("i g n o r e", "i.g.n.o.r.e"); a
// wider gap ends a word, and where no gap is wider the vocabulary cuts.
func (t *Text) spaced(i int) (dec []byte, z int, ok bool) {
	b := t.Bytes
	if i > 0 && isWord(b[i-1]) {
		return nil, i + 1, false
	}
	s := t.scratch[:0]
	z = i
	var sep byte
	n, gaps, foreign := 0, 0, false
	for z < len(b) {
		_, w := utf8.DecodeRune(b[z:])
		if !isWord(b[z]) || z+w < len(b) && isWord(b[z+w]) {
			break
		}
		if w > 1 {
			if w > 2 { // scripts beyond two bytes write no spaced letters
				break
			}
			foreign = true
		}
		s = append(s, b[z:z+w]...)
		n++
		z += w
		k := z
		for k < len(b) && k-z < 4 && !isWord(b[k]) && b[k] != '\n' {
			k++
		}
		if k == z || k >= len(b) || !isWord(b[k]) {
			break
		}
		if sep == 0 {
			sep = b[z]
		}
		if b[z] != sep && b[z] != ' ' || sep == ',' || sep == '\'' || sep == '"' || sep == '(' || sep == '=' {
			break
		}
		if _, w := utf8.DecodeRune(b[k:]); k+w < len(b) && isWord(b[k+w]) {
			break
		}
		if k-z > 1 {
			s = append(s, ' ')
			gaps++
		}
		z = k
	}
	for z > i && !isWord(b[z-1]) {
		z--
	}
	t.scratch = s
	if n < minSpaced {
		return nil, max(z, i+1), false
	}
	if foreign {
		if n < 8 {
			return nil, z, false
		}
		return s, z, true
	}
	out := make([]byte, 0, 2*len(s))
	known, letters := 0, 0
	for a := 0; a < len(s); {
		e := a
		t.work += longest
		for e < len(s) && s[e] != ' ' {
			e++
		}
		if e > a {
			if len(out) > 0 {
				out = append(out, ' ')
			}
			letters += e - a
			if Common(s[a:e]) {
				known += e - a
				out = append(out, s[a:e]...)
			} else {
				var k int
				out, k = cut(out, s[a:e])
				known += k
			}
		}
		a = e + 1
	}
	if letters < minSpaced || known*10 < letters*7 {
		return nil, z, false
	}
	return out, z, true
}

// lettered joins letters that stand one space apart where wider gaps part the
// words: no vocabulary is needed, and marks and digits may stand among them.
func (t *Text) lettered(i int) (dec []byte, z int, ok bool) {
	b := t.Bytes
	if i > 0 && !isSpace(b[i-1]) || i+2 >= len(b) || b[i+1] != ' ' && b[i] < utf8.RuneSelf {
		return nil, i, false
	}
	s := t.scratch[:0]
	z = i
	items, gaps, letters := 0, 0, 0
	for k := i; k < len(b); {
		r, w := utf8.DecodeRune(b[k:])
		e := k + w
		if e < len(b) && !isSpace(b[e]) { // a word of more than one letter
			break
		}
		if w > 2 && !spacedScript(r) {
			break
		}
		if k > i && k-z > 1 {
			s = append(s, ' ')
			gaps++
		}
		if isAlpha(b[k]) || w > 1 {
			letters++
		}
		s = append(s, b[k:e]...)
		items++
		z = e
		for k = e; k < len(b) && k-e < 5 && b[k] == ' '; k++ {
		}
		if k == e || k-e > 4 || k >= len(b) || isSpace(b[k]) {
			break
		}
	}
	t.scratch = s
	t.work += z - i
	least := 12
	if gaps < 2 {
		least = 20
	}
	return s, z, items >= least && gaps > 0 && gaps*2 < items && letters*10 >= items*6
}

// spacedScript tells the scripts beyond two bytes whose words have letters that
// may stand apart.
func spacedScript(r rune) bool { return r >= 0x0900 && r <= 0x0DFF || r >= 0x1E00 && r <= 0x1FFF }

// cut splits letters into common words, longest total squared length first,
// and returns how many letters they cover. Work is bounded by len(s)*longest.
func cut(dst, s []byte) ([]byte, int) {
	const chunk = 400
	covered := 0
	for len(s) > 0 {
		n := min(len(s), chunk)
		var best [chunk + 1]int32
		var from [chunk + 1]int16
		for a := range n {
			if best[a] > best[a+1] || from[a+1] == 0 && best[a+1] == 0 {
				best[a+1], from[a+1] = best[a], int16(a)
			}
			h := uint64(fnvOffset)
			for e := a + 1; e <= min(n, a+longest); e++ {
				h = (h ^ uint64(s[e-1]|0x20)) * fnvPrime
				if !vocab.leads(h) {
					break
				}
				if v := best[a] + int32((e-a)*(e-a)); e > a+1 && v > best[e] && Common(s[a:e]) {
					best[e], from[e] = v, int16(a)
				}
			}
		}
		var ends [chunk + 1]int16
		k := 0
		for e := n; e > 0; e = int(from[e]) {
			ends[k] = int16(e)
			k++
		}
		a := 0
		for k--; k >= 0; k-- {
			e := int(ends[k])
			if a > 0 {
				dst = append(dst, ' ')
			}
			dst = append(dst, s[a:e]...)
			if e-a > 1 {
				covered += e - a
			}
			a = e
		}
		s = s[n:]
		if len(s) > 0 {
			dst = append(dst, ' ')
		}
	}
	return dst, covered
}

// cipher looks at the run of unknown words from i, where Runs[at] is the first
// that begins there or later, and names what makes them known: Rot13, Reversed,
// or nothing. z is where the run ends.
func (t *Text) cipher(i, at int) (z int, way Way) {
	b, runs := t.Bytes, t.Runs
	t.words = t.words[:0]
	known, rot, rev := 0, 0, 0 // known counts trailing known words, not part of the run
	row := false               // the word before has digits, too
	end := i
	for k := i; k < len(b); {
		if b[k] == ' ' {
			k++
		}
		for k < len(b) && !isWord(b[k]) {
			if b[k] == '\n' && k+1 < len(b) && b[k+1] == '\n' {
				k = len(b)
				break
			}
			k++
		}
		if k == len(b) {
			break
		}
		s := k
		for at < len(runs) && int(runs[at].Start) < s {
			at++
		}
		var is sort
		var has uint8
		if at < len(runs) && int(runs[at].Start) == s && runs[at].plain(b) && (s == 0 || !isWord(b[s-1])) {
			if k = int(runs[at].End); k-s >= 3 {
				is = t.sortAt(at)
			}
			at++
		} else if k, has = span(b, s); has&(hasHigh|hasDigit) == 0 && k-s <= longest {
			is = sortOf(spread(spell(b[s:k])))
		}
		if has&hasHigh != 0 || k-s > 40 {
			if end == i {
				end = k
			}
			break
		}
		if has&hasDigit != 0 { // it says nothing of the run it stands in
			if len(t.words) == 0 {
				if end == i {
					end = k
				}
				break
			}
			if t.work += k - s; s >= t.numbers && k <= t.numbersEnd {
				k = t.numbersEnd // looked at before
			} else if row {
				t.numbersEnd = k
			} else {
				t.numbers, t.numbersEnd = s, k
			}
			row = true
			continue
		}
		row = false
		if k-s >= 3 {
			if is&common != 0 {
				if known++; known > 1 || len(t.words) == 0 {
					break
				}
				continue
			}
			known = 0
			t.words = append(t.words, word{s, k})
			if is&commonRot != 0 {
				rot++
			}
			if is&commonBack != 0 {
				rev++
			}
		}
		end = k
	}
	if end == i {
		for end < len(b) && isWord(b[end]) {
			end++
		}
	}
	if len(t.words) < minWords {
		return end, 0
	}
	need := (len(t.words)*3 + 4) / 5
	switch {
	case rot >= need && rot >= rev && rot >= minWords-1:
		return end, Rot13
	case rev >= need && rev >= minWords-1:
		return end, Reversed
	}
	return end, t.unlike(rot, rev)
}

// unlike judges a run by the triples of its letters where the vocabulary does
// not know enough of it: rot13 and reversed words of any language have many more
// common ones in clear.
func (t *Text) unlike(rot, rev int) Way {
	if rot+rev < 2 {
		return 0
	}
	var now, turned, back, n int
	for _, w := range t.words {
		var p, q, rp, rq, vp, vq rune = gapRune, gapRune, gapRune, gapRune, gapRune, gapRune
		for k := w.start; k <= w.end; k++ {
			c, r, v := rune(gapRune), rune(gapRune), rune(gapRune)
			if k < w.end {
				c, r = rune(t.Bytes[k]|0x20), rune(rot13(t.Bytes[k])|0x20)
				v = rune(t.Bytes[w.end-1-(k-w.start)] | 0x20)
			}
			now += int(reading.common[triple(p, q, c)])
			turned += int(reading.common[triple(rp, rq, r)])
			back += int(reading.common[triple(vp, vq, v)])
			p, q, rp, rq, vp, vq = q, c, rq, r, vq, v
			n++
		}
	}
	switch {
	case turned >= back && rot >= 2 && turned*10 > now*17 && turned > 2*n:
		return Rot13
	case rev >= 2 && back*10 > now*17 && back > 2*n:
		return Reversed
	}
	return 0
}

// decipher writes the run Bytes[a:z] in clear, offsets exact per byte.
func (t *Text) decipher(a, z int, way Way) {
	start := len(t.alt)
	b := t.Bytes
	if way == Rot13 {
		for k := a; k < z; k++ {
			t.alt = append(t.alt, rot13(b[k]))
		}
		t.afrom = append(t.afrom, t.from[a:z]...)
		t.ato = append(t.ato, t.to[a:z]...)
		t.note(start, len(t.alt), way)
		return
	}
	copyByte := func(k int) {
		t.alt = append(t.alt, b[k])
		t.afrom = append(t.afrom, t.from[k])
		t.ato = append(t.ato, t.to[k])
	}
	// A capital at the end of the first word: each word was reversed and their
	// order kept. Otherwise the whole run was.
	first, final := t.words[0], t.words[len(t.words)-1]
	each := isUpper(b[first.end-1]) && !isUpper(b[final.end-1])
	if !each {
		for k := z - 1; k >= a; k-- {
			copyByte(k)
		}
	} else {
		for k := a; k < z; {
			if !isAlpha(b[k]) {
				copyByte(k)
				k++
				continue
			}
			e := k
			for e < z && isAlpha(b[e]) {
				e++
			}
			for x := e - 1; x >= k; x-- {
				copyByte(x)
			}
			k = e
		}
	}
	t.note(start, len(t.alt), way)
}

func rot13(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z':
		return 'a' + (c-'a'+13)%26
	case c >= 'A' && c <= 'Z':
		return 'A' + (c-'A'+13)%26
	}
	return c
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
