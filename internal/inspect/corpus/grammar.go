package corpus

import (
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
)

// The grammars. A file holds lists and sections:
//
//	name = first | second | third
//	[attack instruction_override user en 200]
//	{Ignore|Forget} <name> now
//
// A section header gives label, family, channel, language and how many texts
// to make; its lines are templates, each as likely as the next. {a|b} chooses,
// <name> takes from a list, both nest; \n is a line break, \{ \} \| are
// themselves. Lists are shared by
// all files.
//
//go:embed data/*.txt
var grammarFiles embed.FS

type section struct {
	Example
	count     int
	templates []string
}

// Grammar makes texts.
type Grammar struct {
	lists    map[string][]string
	sections []section
}

// LoadGrammar parses the embedded grammars.
func LoadGrammar() (*Grammar, error) {
	g := &Grammar{lists: map[string][]string{}}
	names, err := fs.Glob(grammarFiles, "data/*.txt")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := grammarFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := g.parse(name, string(b)); err != nil {
			return nil, err
		}
	}
	return g, g.check()
}

func (g *Grammar) parse(file, text string) error {
	var cur *section
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = escape.Replace(strings.TrimSpace(line))
		if line == "" || line[0] == '#' && (len(line) == 1 || line[1] == ' ') {
			continue
		}
		if head, ok := strings.CutPrefix(line, "[section "); ok {
			f := strings.Fields(strings.TrimSuffix(head, "]"))
			if len(f) != 5 {
				return fmt.Errorf("read %s line %d: want [section label family channel lang count]", file, n)
			}
			count, err := strconv.Atoi(f[4])
			if err != nil {
				return fmt.Errorf("read %s line %d: %w", file, n, err)
			}
			s := section{count: count}
			s.Family, s.Channel, s.Lang = f[1], f[2], f[3]
			if f[0] == "attack" {
				s.Label = 1
			} else {
				s.Family = ""
			}
			s.Source = "generated"
			g.sections = append(g.sections, s)
			cur = &g.sections[len(g.sections)-1]
			continue
		}
		if name, rest, ok := strings.Cut(line, " := "); ok && !strings.ContainsAny(name, " <{") {
			for _, alt := range split(rest) {
				g.lists[name] = append(g.lists[name], strings.TrimSpace(alt))
			}
			continue
		}
		if cur == nil {
			return fmt.Errorf("read %s line %d: a template outside a section", file, n)
		}
		cur.templates = append(cur.templates, line)
	}
	return nil
}

// check expands every template once, so that a missing list is found here.
func (g *Grammar) check() error {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range g.sections {
		for _, t := range s.templates {
			if out := g.expand(r, t, 0); strings.Contains(out, "<?") {
				return fmt.Errorf("grammar: template %q names a missing list: %s", t, out)
			}
		}
	}
	return nil
}

// split cuts at the | outside braces.
func split(s string) []string {
	var out []string
	depth, last := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '|':
			if depth == 0 {
				out = append(out, s[last:i])
				last = i + 1
			}
		}
	}
	return append(out, s[last:])
}

func (g *Grammar) expand(r *rand.Rand, t string, depth int) string {
	if depth > 12 {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(t); {
		switch t[i] {
		case '{':
			n, j := 1, i+1
			for ; j < len(t) && n > 0; j++ {
				switch t[j] {
				case '{':
					n++
				case '}':
					n--
				}
			}
			alts := split(t[i+1 : j-1])
			b.WriteString(g.expand(r, alts[r.IntN(len(alts))], depth+1))
			i = j
		case '<':
			j := strings.IndexByte(t[i:], '>')
			if j > 1 && name(t[i+1:i+j]) {
				if list := g.lists[t[i+1:i+j]]; len(list) > 0 {
					b.WriteString(g.expand(r, list[r.IntN(len(list))], depth+1))
				} else {
					b.WriteString("<?" + t[i+1:i+j] + ">")
				}
				i += j + 1
				continue
			}
			b.WriteByte('<')
			i++
		case '\\':
			if i+1 < len(t) && t[i+1] == 'n' {
				b.WriteByte('\n')
				i += 2
				continue
			}
			b.WriteByte(t[i])
			i++
		default:
			b.WriteByte(t[i])
			i++
		}
	}
	return b.String()
}

// escape hides \{, \} and \| from the grammar, unescape brings them back.
var (
	escape   = strings.NewReplacer(`\{`, "\x01", `\}`, "\x02", `\|`, "\x03", `\t`, "\t")
	unescape = strings.NewReplacer("\x01", "{", "\x02", "}", "\x03", "|")
)

// name tells a list's name (it has a dot, so that no markup is one).
func name(s string) bool {
	dot := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		dot = dot || c == '.'
		if c != '.' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return dot
}

// Generate makes the texts of every section, scale times its count, without
// exact repeats. The same seed gives the same texts.
func (g *Grammar) Generate(seed uint64, scale float64) []Example {
	var out []Example
	seen := map[string]bool{}
	for i, s := range g.sections {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		want := int(float64(s.count) * scale)
		for try := 0; want > 0 && try < want*8; try++ {
			e := s.Example
			e.Text = dress(r, strings.TrimSpace(unescape.Replace(g.expand(r, s.templates[r.IntN(len(s.templates))], 0))))
			if e.Text == "" || seen[e.Text] {
				continue
			}
			seen[e.Text] = true
			out = append(out, e)
			if want--; want == 0 {
				break
			}
		}
	}
	return out
}

// dress varies what typists vary: case, the final mark.
func dress(r *rand.Rand, s string) string {
	switch x := r.IntN(20); {
	case x == 0:
		return strings.ToLower(s)
	case x == 1 && len(s) < 200:
		return strings.ToUpper(s)
	case x == 2:
		return strings.TrimRight(s, ".!")
	case x == 3:
		return strings.ReplaceAll(strings.ToLower(s), ",", "")
	}
	return s
}
