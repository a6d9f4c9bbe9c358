package testservers

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh/agent"
)

// Witness is a running litewitness and what it is known by.
type Witness struct {
	URL, Vkey string
	stop      func()
}

// Stop ends it before the test does.
func (w *Witness) Stop() { w.stop() }

// StartWitness starts torchwood's litewitness on loopback with a key of its
// own, which knows the log of origin by its keys.
func StartWitness(t testing.TB, name, origin string, logKeys ...string) *Witness {
	t.Helper()
	bin := Build(t, "litewitness", "filippo.io/torchwood/cmd/litewitness", "./addlog")
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	// A socket's path has 108 bytes at most: not in t.TempDir.
	dir, err := os.MkdirTemp("", "lw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			_ = agent.ServeAgent(keys, conn)
			_ = conn.Close()
		}
	}()
	db := filepath.Join(dir, "witness.db")
	if out, err := exec.Command(filepath.Join(bin, "addlog"), append([]string{db, origin}, logKeys...)...).CombinedOutput(); err != nil {
		t.Fatalf("telling the witness: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	id := sha256.Sum256(private.Public().(ed25519.PublicKey))
	cmd := exec.Command(filepath.Join(bin, "litewitness"), "-name", name, "-db", db, "-ssh-agent", socket, "-listen", address, "-key", hex.EncodeToString(id[:]))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, drained := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "msg=listening") {
				said <- struct{}{}
			}
		}
	}()
	stopped := false
	w := &Witness{URL: "http://" + address, stop: func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(os.Interrupt)
		<-drained
		_ = cmd.Wait()
		_ = listener.Close()
		<-served
	}}
	t.Cleanup(w.Stop)
	select {
	case <-said:
	case <-drained:
		t.Fatal("the witness ended at once")
	}
	for { // it says so just before it listens
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	signer, err := torchwood.NewCosignatureSigner(name, private)
	if err != nil {
		t.Fatal(err)
	}
	w.Vkey = signer.Verifier().String()
	return w
}
