package faults

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts one of a few megabytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := folder(t)
	if err := syscall.Mount("openclaw-test", dir, "tmpfs", 0, "mode=0711,size="+size); err != nil {
		t.Skipf("a small disk cannot be mounted here, so nothing is known of full ones: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes the room that is left, but for a few bytes; free gives it back.
func fill(t testing.TB, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for piece := make([]byte, 1<<20); len(piece) >= 4096; {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// moveWAL puts the write-ahead log into another folder, as operators do.
func (m *machine) moveWAL(t *testing.T, to string) {
	t.Helper()
	cluster := m.pg.Cluster()
	if err := m.pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, now := filepath.Join(cluster, "pg_wal"), filepath.Join(to, "wal")
	err := filepath.WalkDir(old, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		at := now + strings.TrimPrefix(path, old)
		if d.IsDir() {
			err = os.Mkdir(at, 0o700)
		} else {
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(at, b, 0o600)
			}
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		return os.Chown(at, int(st.Uid), int(st.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(now, old); err != nil {
		t.Fatal(err)
	}
	m.startPG(t)
}

// revive waits until the database answers, and starts it if it is gone: its
// recovery may have found no room just before there was some.
func (m *machine) revive(t *testing.T) (ended bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		select {
		case <-m.pg.Done():
			m.startPG(t)
			return true
		case <-time.After(50 * time.Millisecond): // a connection is the only sign
			var one int
			if m.sql(`SELECT 1`, &one) == nil {
				return false
			}
		}
	}
	t.Fatal("the database does not come back")
	return false
}

// The disk of the data, or of the write-ahead log, fills up under load: what
// cannot be recorded is refused and not done, readiness says so, and room alone
// brings the platform back. A log without room ends PostgreSQL itself, and then
// somebody has to start that.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]string{"data": "160m", "wal": "80m"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t, size)
			var m *machine
			if name == "data" {
				m = newMachine(t, disk)
				m.moveWAL(t, m.dir)
			} else {
				m = newMachine(t, "")
				m.moveWAL(t, disk)
			}
			p := m.spawn(t, nil)
			c := newCrowd(t, m)
			c.serve(p)
			c.begin(everything)
			c.await(60)
			held := map[*customer][]kept{m.plain: {p.checkpoint(t, m.plain)}}
			p.readiness(t, 200, "")

			free := fill(t, disk)
			if name == "wal" { // no need to write sixteen megabytes to come to a segment's end
				for m.sql(`SELECT pg_switch_wal()`) == nil {
				}
			}
			c.refusesEverything(p)
			p.readiness(t, 503, "")
			p.get(t, "/livez", "", 200)

			free()
			ended := m.revive(t)
			c.forget()
			c.await(30) // of the same platform
			p.readiness(t, 200, "")
			f, _ := c.judge(p, held)
			said, err := os.ReadFile(m.pg.LogPath())
			if err != nil {
				t.Fatal(err)
			}
			lacked, panics := strings.Count(string(said), "No space left on device"), strings.Count(string(said), "PANIC:")
			if lacked == 0 {
				t.Error("PostgreSQL never lacked room")
			}
			t.Logf("PostgreSQL lacked room %d times, panicked %d times, ended: %t; answers: %v; the longest took %s", lacked, panics, ended, c.codes, c.longest.Round(time.Millisecond))
			t.Log(f)
		})
	}
}

// readiness waits until the platform says so.
func (p *process) readiness(t *testing.T, status int, log string) {
	t.Helper()
	var last answer
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // as a balancer asks
		a, err := p.send(t.Context(), ask{method: "GET", path: "/readyz"})
		if err != nil {
			t.Fatal(err)
		}
		last = a
		var v struct{ Checks map[string]string }
		if a.status == status && a.into(&v) == nil && (log == "" || v.Checks["audit_log"] == log) {
			return
		}
	}
	t.Fatalf("readiness is %d %s, want %d", last.status, last.body, status)
}

// refusesEverything waits until nothing that has to be recorded first is done
// any more: changes, acts, reads of a tenant whose reads are durable.
func (c *crowd) refusesEverything(p *process) {
	c.t.Helper()
	r := rand.New(rand.NewPCG(0, 0))
	large := make([]byte, 60_000) // more than the holes in what is there, though numbers shrink
	for i := range large {
		large[i] = "0123456789"[r.IntN(10)]
		if i%9 == 8 {
			large[i] = ' '
		}
	}
	questions := map[string]ask{
		"a change": {method: "POST", path: "/v1/memories", token: c.m.plain.token, body: map[string]any{"text": string(large), "tags": []string{"large"}}},
		"an act":   {method: "POST", path: "/outside/deed", token: c.m.plain.token, body: map[string]any{}},
		"a read":   {method: "GET", path: "/v1/agents", token: c.m.strict.token},
		"a login":  {method: "POST", path: "/v1/auth/login", body: map[string]string{"tenant": c.m.plain.name, "email": c.m.plain.email, "password": goodPassword}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for what, q := range questions {
		for row := 0; row < 3; {
			kind := kindAct
			switch what {
			case "a change":
				// Not one that the verdict knows a key of.
				a, err := p.send(ctx, q)
				if err != nil {
					c.t.Fatalf("%s: %v", what, err)
				}
				row = c.count(what, a, row)
				if a.status == 201 {
					var v struct{ ID string }
					_ = a.into(&v)
					c.mu.Lock()
					c.large = append(c.large, "memory/"+v.ID)
					c.mu.Unlock()
				}
				continue
			case "a read":
				kind = kindRead
			case "a login":
				kind = kindLogin
			}
			who := c.m.plain
			if what == "a read" {
				who = c.m.strict
			}
			a, got := c.ask(r, kind, who, q)
			if a.status == 0 {
				c.t.Fatalf("%s was not answered", what)
			}
			row = c.count(what, got, row)
		}
	}
}

// count is how many in a row were refused with 503.
func (c *crowd) count(what string, a answer, row int) int {
	switch code := a.code(); {
	case a.status == 503 && (code == "audit_unavailable" || code == "unavailable"):
		return row + 1
	case a.status < 300:
		c.rest(20 * time.Millisecond)
		return 0
	default:
		c.t.Fatalf("%s without room: %d %.300s", what, a.status, a.body)
		return 0
	}
}
