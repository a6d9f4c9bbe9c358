package waf

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
)

// base are the settings that stand before all rules: no audit log of the
// engine's own (ours is the record), no response bodies, what is over a limit is
// refused.
const base = `
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecAuditEngine Off
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit 64
SecArgumentsLimit 1000
SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^application/[a-z0-9.-]+[+]json" "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'the body could not be parsed'"
`

func load(o Options) (coraza.WAF, error) {
	files := make([]string, len(o.RulesFiles))
	for i, f := range o.RulesFiles {
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, fmt.Errorf("load waf rules: %w", err)
		}
		if _, err := os.ReadFile(abs); err != nil {
			return nil, fmt.Errorf("load waf rules: %w", err)
		}
		files[i] = abs
	}
	for i := range files { // alone first: the error is then the file's own
		if err := check(o, files[:i+1]); err != nil {
			return nil, err
		}
	}
	engine, err := build(o, files, overlay{}, !o.NoCoreSet)
	if err != nil {
		return nil, fmt.Errorf("load waf rules: %w", err)
	}
	return engine, nil
}

func build(o Options, files []string, root overlay, core bool) (coraza.WAF, error) {
	c := coraza.NewWAFConfig().WithRootFS(root).WithRequestBodyAccess().
		WithRequestBodyLimit(o.BodyLimit).WithRequestBodyInMemoryLimit(o.BodyLimit).WithDirectives(base)
	if core {
		c = c.WithDirectives(fmt.Sprintf("Include @crs-setup.conf.example\nSecAction \"id:900000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level=%d,setvar:tx.detection_paranoia_level=%d\"\nSecAction \"id:900110,phase:1,pass,t:none,nolog,setvar:tx.inbound_anomaly_score_threshold=%d\"\nInclude @owasp_crs/*.conf", o.Paranoia, o.Paranoia, o.Threshold))
	}
	for _, f := range files {
		c = c.WithDirectivesFromFile(f)
	}
	return coraza.NewWAF(c)
}

// check loads the last of files after those before it and, if it fails, finds
// the first directive that does: the engine's own messages have no line.
func check(o Options, files []string) error {
	last := files[len(files)-1]
	_, err := build(o, files, overlay{}, false)
	if err == nil {
		return nil
	}
	text, readErr := os.ReadFile(last)
	if readErr != nil {
		return fmt.Errorf("load waf rules: %w", readErr)
	}
	ends, starts := directives(string(text))
	fails := func(n int) error {
		part := ""
		if n > 0 {
			part = string(text[:ends[n-1]])
		}
		_, err := build(o, files, overlay{last: part}, false)
		return err
	}
	n := sort.Search(len(ends), func(n int) bool { return fails(n+1) != nil })
	if n == len(ends) {
		return fmt.Errorf("load waf rules: %s: %w", last, err)
	}
	return fmt.Errorf("load waf rules: %s:%d: %w", last, starts[n], fails(n+1))
}

// directives gives for each directive of a file where it ends (bytes) and the
// line it begins on, with the engine's rules for comments and continuations.
func directives(text string) (ends, starts []int) {
	offset, line, start := 0, 0, 0
	ticks := false
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, len(text)+1)
	for sc.Scan() {
		line++
		offset = min(offset+len(sc.Bytes())+1, len(text))
		l := strings.TrimSpace(sc.Text())
		if l == "" || l[0] == '#' {
			continue
		}
		if start == 0 {
			start = line
		}
		switch {
		case !ticks && l[len(l)-1] == '`':
			ticks = true
			continue
		case ticks && l[0] == '`':
			ticks = false
		case ticks:
			continue
		}
		if l[len(l)-1] == '\\' {
			continue
		}
		ends, starts = append(ends, offset), append(starts, start)
		start = 0
	}
	if start != 0 {
		ends, starts = append(ends, len(text)), append(starts, start)
	}
	return ends, starts
}

// overlay is the file system that rules are read from: names with "@" are the
// Core Rule Set's, others the operator's, except those replaced here.
type overlay map[string]string

func ruleSet(name string) (string, bool) {
	i := strings.Index(name, "@")
	if i < 0 {
		return name, false
	}
	return name[i:], true
}

// Open is fs.FS. Names are the engine's, absolute ones included.
func (o overlay) Open(name string) (fs.File, error) {
	if n, ok := ruleSet(name); ok {
		return coreruleset.FS.Open(n)
	}
	return os.Open(name)
}

// ReadFile is fs.ReadFileFS.
func (o overlay) ReadFile(name string) ([]byte, error) {
	if text, ok := o[name]; ok {
		return []byte(text), nil
	}
	if n, ok := ruleSet(name); ok {
		return fs.ReadFile(coreruleset.FS, n)
	}
	return os.ReadFile(name)
}

// Glob is fs.GlobFS.
func (o overlay) Glob(pattern string) ([]string, error) {
	if n, ok := ruleSet(pattern); ok {
		return fs.Glob(coreruleset.FS, n)
	}
	return filepath.Glob(pattern)
}
