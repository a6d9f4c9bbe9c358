package gateway

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/stream"
)

// sources are the trust levels that a place may be of, as a set. The route says
// them and no client. Where places of several levels meet, each judges and the
// highest confidence counts: no level is the strictest at every score.
type sources uint8

// typed is what arrives where nothing else was said.
const typed = sources(1 << inspect.User)

func (s sources) judge(d inspect.Detector, text string) (v inspect.Verdict, from inspect.Trust) {
	first := true
	for _, t := range [...]inspect.Trust{inspect.User, inspect.Document, inspect.Tool} {
		if s>>t&1 == 0 {
			continue
		}
		// what is no number is a fault of the detector, and stays
		if w := d.Inspect(text, t); first || !(w.Confidence <= v.Confidence) && v.Confidence == v.Confidence {
			v, from, first = w, t, false
		}
	}
	return v, from
}

// prompt judges a text that a model reads.
func (j *judge) prompt(p stream.Piece, from sources, where func() string) error {
	v, trust := from.judge(j.in.Prompt, p.Text)
	if v.Confidence <= 0 { // what is no number goes on
		return nil
	}
	if len(p.Seams) > 0 && !news(v, trust, p, j.settings.Alert()) {
		return nil
	}
	return j.decide(v, p.Text, place{where, trust, len(p.Seams) + 1}, func(left string) inspect.Verdict {
		v, _ := from.judge(j.in.Prompt, left)
		return v
	})
}

// news says whether several strings run together say what none said alone: the
// finding goes over a seam. Most messages were not meant to be read as one text,
// so there it takes a confidence that people would be told of, and where every
// message is whole in itself, or not typed by anybody, a third of that doubt.
func news(v inspect.Verdict, trust inspect.Trust, p stream.Piece, alert float64) bool {
	switch c := v.Confidence; {
	case !(c <= 1):
		return true
	case !p.Apart, c > 1-(1-alert)/3:
		return crosses(v, p.Seams)
	case c > alert && trust == inspect.User && !p.Tool:
		return crosses(v, open(p))
	}
	return false
}

// open are the seams in the middle of a sentence.
func open(p stream.Piece) (seams []int) {
	for _, s := range p.Seams {
		left := strings.TrimRight(p.Text[:s], " \t\r\n)]}\"'*`»”’")
		if last, _ := utf8.DecodeLastRuneInString(left); !strings.ContainsRune(".!?:;…。！？।؟", last) {
			seams = append(seams, s)
		}
	}
	return seams
}

// crosses says whether a finding lies on both sides of a seam.
func crosses(v inspect.Verdict, seams []int) bool {
	return slices.ContainsFunc(v.Findings, func(f inspect.Finding) bool {
		i, _ := slices.BinarySearch(seams, f.Start+1)
		return i < len(seams) && seams[i] < f.End
	})
}
