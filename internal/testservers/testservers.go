// Package testservers builds and runs the servers that tests need and that have
// no place in the product's module: each stands in a module of its own below.
// Go's build cache makes a build a one-off.
package testservers

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var (
	mu    sync.Mutex
	built = map[string]string{} // by module, the folder of its binaries
)

// Build builds packages of the module under this folder and gives the folder of
// the binaries, which is kept in the user's cache: what is up to date is not even
// linked again. Without the module at hand (no network) tests are skipped; in CI
// that is a failure.
func Build(t testing.TB, module string, packages ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs a server")
	}
	mu.Lock()
	defer mu.Unlock()
	if built[module] == "" {
		dir, err := build(module, packages)
		if err != nil {
			err = fmt.Errorf("build the test server %s: %w", module, err)
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		built[module] = dir
	}
	return built[module]
}

func build(module string, packages []string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), module)
	sum := sha256.Sum256([]byte(source)) // two checkouts keep apart
	dir := filepath.Join(cache, "openclaw-testservers", hex.EncodeToString(sum[:6]), module)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
}

// EVM is an Ethereum node of a chain that tests command.
type EVM struct {
	RPC     string `json:"rpc"`
	control string
}

// StartEVM starts a node, which ends with the test.
func StartEVM(t testing.TB) *EVM {
	t.Helper()
	cmd := exec.Command(filepath.Join(Build(t, "evm", "."), "evmserver"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var said struct{ RPC, Control string }
	if err != nil || json.Unmarshal(line, &said) != nil {
		t.Fatalf("the node said %q: %v", line, err)
	}
	return &EVM{said.RPC, said.Control}
}

// Do runs a command of internal/testservers/evm: mine, reorg, drop, fund.
func (e *EVM) Do(t testing.TB, command string, args ...string) {
	t.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(args); i += 2 {
		q.Set(args[i], args[i+1])
	}
	if _, err := e.post(command+"?"+q.Encode(), ""); err != nil {
		t.Fatal(err)
	}
}

// Decode reads a raw transaction, in hex, as go-ethereum does.
func (e *EVM) Decode(raw string) (map[string]any, error) {
	answer, err := e.post("decode", raw)
	if err != nil {
		return nil, err
	}
	var v map[string]any
	return v, json.Unmarshal(answer, &v)
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (e *EVM) post(path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, e.control+"/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(path + ": " + string(answer))
	}
	return answer, err
}
