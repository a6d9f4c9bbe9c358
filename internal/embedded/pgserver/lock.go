package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	lockName     = "pgserver.lock"
	pollInterval = 10 * time.Millisecond

	// orphanGrace is how long the servers of a killed parent get to vanish:
	// they were sent SIGQUIT by the kernel and need about 0.4 s.
	orphanGrace = 10 * time.Second
)

// InUseError says that another live process holds a data folder.
type InUseError struct {
	Data    string
	PID     int    // 0 when it cannot be told, as across containers
	Command string // its short name; may be empty
}

func (e *InUseError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = "process " + strconv.Itoa(e.PID)
		if e.Command != "" {
			who += " (" + e.Command + ")"
		}
	}
	return fmt.Sprintf("locking data folder %s: in use by %s; stop that one or choose another folder", e.Data, who)
}

// lockFolder takes the folder's lock. The server inherits the descriptor, so
// the lock is free only once this process and every process of its server
// are gone. A holder that is alive is refused at once; servers whose parent
// was killed are waited for, and after a while quit is called once.
func lockFolder(ctx context.Context, data string, grace time.Duration, quit func()) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(data, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking data folder: %w", err)
	}
	fail := func(err error) (*os.File, error) {
		f.Close()
		return nil, err
	}
	deadline := time.Now().Add(grace)
	halfway := deadline.Add(-grace / 2)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fail(fmt.Errorf("locking data folder %s: %w", data, err))
		}
		if pid, ok := liveHolder(f); ok {
			return fail(&InUseError{Data: data, PID: pid, Command: processName(pid)})
		}
		now := time.Now()
		if now.After(deadline) {
			return fail(&InUseError{Data: data})
		}
		if quit != nil && now.After(halfway) {
			quit()
			quit = nil
		}
		select {
		case <-ctx.Done():
			return fail(fmt.Errorf("locking data folder %s: %w", data, ctx.Err()))
		case <-time.After(pollInterval):
		}
	}
	line := fmt.Sprintf("%d %s\n", os.Getpid(), processStart(os.Getpid()))
	if err := f.Truncate(0); err != nil {
		return fail(fmt.Errorf("locking data folder: %w", err))
	}
	if _, err := f.WriteAt([]byte(line), 0); err != nil {
		return fail(fmt.Errorf("locking data folder: %w", err))
	}
	return f, nil
}

// unlockFolder withdraws our name first: a process of the server that still
// lingers keeps the lock, and the next start then waits for it.
func unlockFolder(f *os.File) {
	_ = f.Truncate(0)
	_ = f.Close()
}

// liveHolder reads who took the lock, and whether that very process (its
// start time included, as process ids are reused) still lives.
func liveHolder(f *os.File) (pid int, ok bool) {
	buf := make([]byte, 128)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false
	}
	fields := strings.Fields(string(buf[:n]))
	if len(fields) != 2 {
		return 0, false
	}
	pid, err = strconv.Atoi(fields[0])
	if err != nil || pid <= 0 {
		return 0, false
	}
	return pid, processStart(pid) == fields[1]
}

// processStart is the start time of a running process in clock ticks since
// boot (proc(5), stat field 22), or empty when there is no such process or it
// is only waiting to be reaped.
func processStart(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// Field 2 is the name in parentheses and may itself hold both ) and space.
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return ""
	}
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

func processName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// postmaster returns the live server whose working directory is cluster, as
// named by its postmaster.pid. A leftover file whose number now belongs to
// some other program does not count.
func postmaster(cluster string) (pid int, ok bool) {
	b, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 || processStart(pid) == "" {
		return 0, false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return pid, err == nil && cwd == cluster
}
