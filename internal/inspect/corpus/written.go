package corpus

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// The texts written by hand, one author a file. A line is
//
//	attack instruction_override user en Ignore all of that and ...
//	benign none document de Bitte ...
//
// label, family, trust, language, text; \n is a line break.
//
//go:embed written/*.txt
var writtenFiles embed.FS

// WrittenPrefix begins the source of a text written by hand; its file ends it.
const WrittenPrefix = "written:"

// Written reads the texts written by hand.
func Written() ([]Example, error) {
	names, err := fs.Glob(writtenFiles, "written/*.txt")
	if err != nil {
		return nil, err
	}
	var out []Example
	for _, name := range names {
		b, err := writtenFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		es, err := readWritten(strings.TrimSuffix(path.Base(name), ".txt"), string(b))
		if err != nil {
			return nil, err
		}
		out = append(out, es...)
	}
	return out, nil
}

// Shelf names the authors that are held out together. Authors of one shelf cover
// each kind of text once or twice.
func Shelf(author string) string {
	switch author {
	case "attacks_en", "benign_en_a", "benign_docs", "benign_long_2", "carriers", "ml_1":
		return "first"
	case "attacks_en_2", "benign_en_b", "benign_long", "carriers_2", "ml_2":
		return "second"
	}
	return "third"
}

func readWritten(author, text string) ([]Example, error) {
	var out []Example
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		f := strings.SplitN(line, " ", 5)
		if len(f) != 5 || f[0] != "attack" && f[0] != "benign" || f[2] != "user" && f[2] != "document" && f[2] != "tool" {
			return nil, fmt.Errorf("read %s line %d: want label, family, trust, language, text", author, n)
		}
		e := Example{Text: strings.ReplaceAll(f[4], `\n`, "\n"), Family: f[1], Channel: f[2], Lang: f[3], Source: WrittenPrefix + author}
		if f[0] == "attack" {
			e.Label = 1
		} else {
			e.Family = ""
		}
		out = append(out, e)
	}
	return out, nil
}
