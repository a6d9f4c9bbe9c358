// Package tally keeps counters that outlive the process that counts.
//
// A File is memory shared with the kernel: what was counted before a kill -9 is
// in it, at the price of one addition and no system call. It does not outlive
// the machine: after a power cut or a reboot the file may be older than the
// counts were, and a reader learns that it is not exact.
package tally

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/google/uuid"
)

// Layout: a page with magic, the process's id and the machine's boot id, then
// slots of a key, a count (the machine's byte order) and 8 bytes unused. A slot
// whose count is 0 is free, or its key half written.
const (
	magic    = "openclaw-tally/1"
	page     = 4096
	slotSize = 32
	slots    = 4096
	fileSize = page + slots*slotSize
	suffix   = ".tally"
)

// File is one process's counters. It is safe for concurrent use until Remove.
type File struct {
	path string
	file *os.File // holds the lock that says the process lives
	mem  []byte

	mu   sync.Mutex
	used map[[16]byte]int
}

// Create makes the file of the process id in dir, and dir if need be.
func Create(dir string, id uuid.UUID) (_ *File, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make the file of counters: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	t := &File{path: filepath.Join(dir, id.String()+suffix), used: map[[16]byte]int{}}
	making := t.path + ".new"
	if t.file, err = os.OpenFile(making, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = t.file.Close()
			_ = os.Remove(making)
		}
	}()
	head := make([]byte, fileSize) // written out: a hole could turn out to have no room
	copy(head, magic)
	copy(head[16:], id[:])
	boot := bootID()
	copy(head[32:], boot[:])
	if _, err = t.file.Write(head); err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(t.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, err
	}
	if t.mem, err = syscall.Mmap(int(t.file.Fd()), 0, fileSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
		return nil, err
	}
	// Under its name only when it is locked: no reader may take it for a dead
	// process's.
	return t, os.Rename(making, t.path)
}

// Counter is the counter of a key, or nil when all slots are taken. It must not
// be used after Remove.
func (t *File) Counter(key [16]byte) *atomic.Int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.used[key]
	if !ok {
		if n = len(t.used); n == slots {
			return nil
		}
		t.used[key] = n
		copy(t.mem[page+n*slotSize:], key[:])
	}
	return (*atomic.Int64)(unsafe.Pointer(&t.mem[page+n*slotSize+16])) // a multiple of 8 from the start of a page
}

// Remove ends the file. Twice is fine.
func (t *File) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return nil
	}
	err := errors.Join(os.Remove(t.path), syscall.Munmap(t.mem), t.file.Close())
	t.mem = nil
	return err
}

// Left is what a process that is gone has left.
type Left struct {
	ID     uuid.UUID
	Exact  bool // the machine has run since, so nothing can be missing
	Counts map[[16]byte]int64

	path string
	file *os.File
}

// Leftovers finds the files of processes that are gone and holds them until
// Remove or Release, so that one finder has each. A file that does not read is
// passed over and named in the error.
func Leftovers(dir string) (found []*Left, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		l, err := open(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("read counters of %s: %w", strings.TrimSuffix(filepath.Base(name), suffix), err))
		case l != nil:
			found = append(found, l)
		}
	}
	return found, errors.Join(errs...)
}

func open(name string) (_ *Left, err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &Left{path: name, file: f, Counts: map[[16]byte]int64{}}
	keep := false
	defer func() {
		if !keep {
			l.Release()
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, nil // it lives, or somebody else reads it
	}
	held, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if there, err := os.Stat(name); err != nil || !os.SameFile(held, there) {
		return nil, nil // another reader was done with it first
	}
	if held.Size() != fileSize {
		return nil, errors.New("its size is wrong")
	}
	b := make([]byte, fileSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	if string(b[:16]) != magic {
		return nil, errors.New("not a file of counters")
	}
	copy(l.ID[:], b[16:32])
	boot := bootID()
	l.Exact = boot != [16]byte{} && boot == [16]byte(b[32:48])
	for at := page; at < fileSize; at += slotSize {
		if n := int64(binary.NativeEndian.Uint64(b[at+16:])); n > 0 {
			l.Counts[[16]byte(b[at:at+16])] = n
		}
	}
	keep = true
	return l, nil
}

// Remove deletes the file: what it said is settled.
func (l *Left) Remove() error {
	err := os.Remove(l.path)
	l.Release()
	return err
}

// Release leaves the file for another time.
func (l *Left) Release() { _ = l.file.Close() }

// bootID tells one run of the machine from the next; zero where nothing does.
func bootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	u, err := uuid.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return id
	}
	return u
}
