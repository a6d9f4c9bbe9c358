package cli_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/witness"
	"github.com/Nissimmiracles/openclaw/internal/evm"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

// until asks until the answer is yes: another process gives no signal.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !yes(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// What stands outside the platform: a chain that its roots are anchored in, a
// witness that cosigns them, and one that has seen another history.
func TestOutsideScripts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	house, err := checkpoint.NewSigner(checkpoint.HouseOrigin("localhost"), key)
	if err != nil {
		t.Fatal(err)
	}

	alice := testservers.StartWitness(t, "alice.example", house.Name(), house.Verifier())
	bob := testservers.StartWitness(t, "bob.example", house.Name(), house.Verifier())
	forged, err := checkpoint.Sign(tlog.Tree{N: 1_000_000, Hash: sha256.Sum256([]byte("another history"))}, house)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.New(bob.URL, bob.Vkey, &http.Transport{DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Cosign(t.Context(), forged, 1_000_000, 0, nil); err != nil {
		t.Fatal(err)
	}
	policy := file("witnesses", "witness alice "+alice.Vkey+" "+alice.URL+"\nwitness bob "+bob.Vkey+" "+bob.URL+"\ngroup any any alice bob\nquorum any\n")

	node := testservers.StartEVM(t)
	secret := hex.EncodeToString(key.Seed())
	account, err := evm.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	node.Do(t, "fund", "to", account.Address().String(), "wei", "1000000000000000000")

	data := dataFolder(t)
	auditKey := file("audit.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	start(t, data, "AUDIT_SIGNING_KEY_FILE="+auditKey, "AUDIT_WITNESSES_FILE="+policy, "AUDIT_WITNESS_EVERY=1s",
		"AUDIT_LOG_STORAGE=postgresql,blockchain", "AUDIT_CHAIN_RPC_URL="+node.RPC, "AUDIT_CHAIN_ID=1337",
		"AUDIT_CHAIN_KEY_FILE="+file("chain.key", secret), "AUDIT_CHAIN_CONFIRMATIONS=2")
	anchored := func(state string) func() bool {
		return func() bool {
			out, _ := command(t, "audit", "anchor", "status", "--json", "--data", data).Output()
			var s struct{ Anchors []struct{ State string } }
			return json.Unmarshal(out, &s) == nil && len(s.Anchors) > 0 && s.Anchors[0].State == state
		}
	}
	until(t, "the first anchor is sent", anchored("sent"))
	node.Do(t, "mine", "n", "3")
	until(t, "it is final", anchored("final"))
	until(t, "both witnesses were asked", func() bool {
		out, _ := command(t, "audit", "witness", "--data", data).Output()
		return strings.Contains(string(out), "cosigning") && strings.Contains(string(out), "ahead")
	})
	testscript.Run(t, testscript.Params{Dir: "testdata/outside", Setup: func(e *testscript.Env) error {
		e.Setenv("DATA", data)
		e.Setenv("RPC", node.RPC)
		e.Setenv("SENDER", account.Address().String())
		e.Setenv("HOUSE", house.Verifier())
		e.Setenv("ALICE", alice.Vkey)
		e.Setenv("BOB", bob.Vkey)
		e.Setenv("AUDIT_SIGNING_KEY_FILE", auditKey)
		return nil
	}})
}
