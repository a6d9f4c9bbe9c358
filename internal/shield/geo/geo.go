// Package geo refuses addresses by country, from a MaxMind DB file (format
// 2.0) such as GeoLite2-Country or a free equivalent.
//
// The file is read into memory and not mapped: a file that somebody truncates
// in place then costs a reload and not a bus error. It is looked at every
// Options.Poll and read again when its size, time or inode has changed. A new
// file is walked in full before it is used.
//
// What happens without a file: with a Block or Allow list New fails, and so
// must the start. Once serving, a file that vanishes or breaks leaves the last
// good one in force, says so once (Event), and is picked up when it is back.
package geo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxFile bounds the file: the largest country databases have 20 MiB.
const maxFile = 256 << 20

// Options choose countries. Codes are ISO 3166-1 alpha-2, in any case.
type Options struct {
	Path  string // of the MMDB file
	Block []string
	// Allow, if not empty, refuses every other country, and addresses whose
	// country the file does not know unless they are private, loopback or
	// link-local. Block wins over Allow.
	Allow []string
	Poll  time.Duration // 10 s
	// Event hears of a changed state of the file: nil when a new one is in
	// force, an error when the last good one stays. It must not block.
	Event func(error)
}

// Filter is a shield.Countries. It is safe for concurrent use.
type Filter struct {
	options      Options
	block, allow map[string]bool
	current      atomic.Pointer[database]

	checking sync.Mutex
	seen     stamp
	failing  bool

	life   sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
}

// database is one version of the file. Records are few, so what is decided
// about each is decided when the file is read, by its place in the file.
type database struct {
	reader  *maxminddb.Reader
	decided map[uintptr]verdict
}

type verdict struct {
	country string
	refused bool
}

type stamp struct {
	size int64
	time time.Time
	info os.FileInfo // for os.SameFile
}

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.time.Equal(o.time) && s.info != nil && o.info != nil && os.SameFile(s.info, o.info)
}

// New reads the file. Without Block and Allow nothing is refused and the file
// may be missing or Path empty; with them an unreadable file is an error.
func New(o Options) (*Filter, error) {
	o.Poll = cmp.Or(o.Poll, 10*time.Second)
	f := &Filter{options: o}
	var err error
	if f.block, err = codes("GEO_BLOCK", o.Block); err != nil {
		return nil, err
	}
	if f.allow, err = codes("GEO_ALLOW", o.Allow); err != nil {
		return nil, err
	}
	wanted := len(f.block)+len(f.allow) > 0
	if o.Path == "" {
		if wanted {
			return nil, errors.New("GEO_BLOCK or GEO_ALLOW is set but GEO_DATABASE names no file, for example GEO_DATABASE=/var/lib/openclaw/country.mmdb")
		}
		return f, nil
	}
	if err := f.Reload(); err != nil && wanted {
		return nil, fmt.Errorf("open GEO_DATABASE: %w", err)
	}
	return f, nil
}

func codes(name string, list []string) (map[string]bool, error) {
	set := make(map[string]bool, len(list))
	for _, c := range list {
		c = strings.ToUpper(strings.TrimSpace(c))
		if len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
			return nil, fmt.Errorf("%s holds %q, which is no two-letter country code, for example DE", name, c)
		}
		set[c] = true
	}
	return set, nil
}

// Refused implements shield.Countries. It allocates nothing.
func (f *Filter) Refused(a netip.Addr) (country string, refused bool) {
	db := f.current.Load()
	if db == nil {
		return "", false // only without lists: New sees to that
	}
	r := db.reader.Lookup(a)
	if r.Err() != nil || !r.Found() {
		return "", f.unknown(a)
	}
	v := db.decided[r.Offset()]
	if v.country == "" {
		return "", f.unknown(a)
	}
	return v.country, v.refused
}

// codeOf reads MaxMind's country.iso_code (or, for anycast and satellite,
// registered_country) and the flat country_code of others.
func codeOf(r maxminddb.Result) string {
	for _, path := range [][]any{{"country", "iso_code"}, {"registered_country", "iso_code"}, {"country_code"}} {
		var code string
		if err := r.DecodePath(&code, path...); err == nil && len(code) == 2 {
			return strings.ToUpper(code)
		}
	}
	return ""
}

func (f *Filter) unknown(a netip.Addr) bool {
	return len(f.allow) > 0 && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}

// Reload looks at the file and takes it when it has changed and is good. The
// error says why the last good one stays in force.
func (f *Filter) Reload() error {
	f.checking.Lock()
	defer f.checking.Unlock()
	changed, err := f.load()
	switch {
	case err != nil && !f.failing, err == nil && (changed || f.failing):
		f.failing = err != nil
		if f.options.Event != nil && (err != nil || f.current.Load() != nil) {
			f.options.Event(err)
		}
	}
	return err
}

func (f *Filter) load() (changed bool, err error) {
	file, err := os.Open(f.options.Path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	now := stamp{size: info.Size(), time: info.ModTime(), info: info}
	if now.same(f.seen) {
		return false, nil
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return false, fmt.Errorf("%s is no regular file of up to 256 MiB", f.options.Path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return false, err
	}
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.options.Path, err)
	}
	decided, err := f.decide(reader)
	if err != nil {
		return false, fmt.Errorf("check %s: %w", f.options.Path, err)
	}
	f.current.Store(&database{reader: reader, decided: decided})
	f.seen = now
	return true, nil
}

// decide walks every network of a new file. Reader.Verify would do more than is
// wanted: it refuses databases in use for an empty description. A file of
// another kind (cities are fine, AS numbers are not) must not turn a block
// list into nothing, so at least one country has to be in it.
func (f *Filter) decide(reader *maxminddb.Reader) (map[uintptr]verdict, error) {
	decided := map[uintptr]verdict{}
	found := false
	for r := range reader.Networks() {
		if err := r.Err(); err != nil {
			return nil, err
		}
		if _, ok := decided[r.Offset()]; ok {
			continue
		}
		code := codeOf(r)
		decided[r.Offset()] = verdict{code, f.block[code] || len(f.allow) > 0 && !f.allow[code]}
		found = found || code != ""
	}
	if !found {
		return nil, errors.New("no record has a country code")
	}
	return decided, nil
}

// Start looks at the file every Poll until ctx ends or Stop. Starting twice
// does nothing.
func (f *Filter) Start(ctx context.Context) {
	f.life.Lock()
	defer f.life.Unlock()
	if f.cancel != nil || f.options.Path == "" {
		return
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.done = make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		tick := time.NewTicker(f.options.Poll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = f.Reload() // Event hears of it
			}
		}
	}(f.done)
}

// Stop ends what Start began and waits for it. Stopping twice is fine.
func (f *Filter) Stop() {
	f.life.Lock()
	defer f.life.Unlock()
	if f.cancel != nil {
		f.cancel()
		<-f.done
		f.cancel = nil
	}
}
