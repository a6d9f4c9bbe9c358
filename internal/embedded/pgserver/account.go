package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who the server runs as. A nil cred means: as this process.
type account struct {
	name string
	uid  int
	gid  int
	cred *syscall.Credential
}

// chooseAccount drops root, because PostgreSQL refuses to run as root. The
// owner of an existing cluster wins over the usual names, so that installing
// a postgres account later does not orphan a cluster made as nobody.
func chooseAccount(cluster string) (account, error) {
	self := account{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}
	if self.uid != 0 {
		return self, nil
	}
	var st syscall.Stat_t
	switch err := syscall.Lstat(cluster, &st); {
	case err == nil && st.Uid == 0:
		return account{}, fmt.Errorf("choosing the server's account: %s belongs to root, which PostgreSQL refuses to run as; give it to the postgres account (chown -R)", cluster)
	case err == nil:
		return dropTo(strconv.Itoa(int(st.Uid)), int(st.Uid), int(st.Gid)), nil
	case !errors.Is(err, fs.ErrNotExist):
		return account{}, fmt.Errorf("choosing the server's account: %w", err)
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil || uid == 0 {
			continue
		}
		return dropTo(name, uid, gid), nil
	}
	return account{}, errors.New("choosing the server's account: PostgreSQL refuses to run as root, and there is neither a postgres nor a nobody account")
}

func dropTo(name string, uid, gid int) account {
	return account{name: name, uid: uid, gid: gid, cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// own gives path to the account, when that is somebody else than us.
func (a account) own(path string) error {
	if a.cred == nil {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// enters says whether the account can make dir its working directory and run
// the server from there. It tries, rather than reading mode bits, so access
// lists, namespaces and mandatory access control count as well.
func (a account) enters(ctx context.Context, b Binaries, dir string) bool {
	if a.cred == nil {
		return true
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.Dir, "postgres"), "--version")
	cmd.Dir = dir
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.cred}
	return cmd.Run() == nil
}

// privateDir makes dir a folder that only the account can enter. An existing
// one must already be just that: in a shared folder such as /tmp, somebody
// else may have put a link or a folder of their own there first.
func (a account) privateDir(dir string) error {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		if err := os.Chmod(dir, 0o700); err != nil { // umask
			return err
		}
		return a.own(dir)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR || int(st.Uid) != a.uid || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a private folder of account %s", dir, a.name)
	}
	return nil
}
