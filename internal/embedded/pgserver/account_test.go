package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("every other test shows this already")
	}
	data := folder(t)
	if err := os.Chown(data, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd, in, h := program(t, data, &syscall.Credential{Uid: 65534, Gid: 65534})
	if h.Err != "" {
		t.Fatal(h.Err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d", h.PID), &st); err != nil || st.Uid != 65534 {
		t.Errorf("the server runs as %d, %v", st.Uid, err)
	}
	if got := query(t, h.DSN, "select 1"); got != "1" {
		t.Error("no answer")
	}
	if err := in.Close(); err != nil { // asks the program to stop in order
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	awaitGone(t, h.Cluster)

	// Root continues as the account that owns the cluster.
	s := start(t, config(t, data))
	if err := syscall.Stat(fmt.Sprintf("/proc/%d", s.PID()), &st); err != nil || st.Uid != 65534 {
		t.Errorf("root runs the same cluster as %d, %v", st.Uid, err)
	}
}

func TestDropsRoot(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, folder(t)))
	for _, pid := range family(t, s.Cluster()) {
		var st syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d", pid), &st); err == nil && st.Uid == 0 {
			t.Errorf("process %d runs as root", pid)
		}
	}
}

// A folder that only root can enter: the cluster goes elsewhere, is found
// again, and is missed rather than replaced when it is gone.
func TestRootOnlyFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root drops to another account")
	}
	closed, shared := t.TempDir(), folder(t)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, filepath.Join(closed, "data"))
	cfg.Fallback = shared
	s := start(t, cfg)
	if !strings.HasPrefix(s.Cluster(), shared) {
		t.Errorf("cluster in %s, want it under %s", s.Cluster(), shared)
	}
	query(t, s.DSN(Superuser, "postgres"), "create table kept (v int); insert into kept values (5)")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ClusterMajor(cfg.Data); got != cfg.Binaries.Major {
		t.Errorf("ClusterMajor through the link: got %d", got)
	}
	s = start(t, cfg)
	if got := query(t, s.DSN(Superuser, "postgres"), "select v from kept"); got != "5" {
		t.Errorf("after a restart: got %q", got)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(s.Cluster())); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("cluster missing: got %v, want an error", err)
	}
}
