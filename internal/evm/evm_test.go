package evm

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

func testKey(t testing.TB, n byte) *Key {
	t.Helper()
	k, err := ParseKey(strings.Repeat("00", 31) + hex.EncodeToString([]byte{n}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Known by everybody: the account of the key 1 (EIP-55 examples use it too).
func TestAddress(t *testing.T) {
	t.Parallel()
	if got := testKey(t, 1).Address().String(); got != "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf" {
		t.Error(got)
	}
	for _, bad := range []string{"", "0x", "7e5f4552091a69125d5dfcb7b8c2659029395bdf", "0x7e5f4552091a69125d5dfcb7b8c2659029395bd", "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf00"} {
		if _, err := ParseAddress(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"good":      {strings.Repeat("0", 63) + "1\n", 0o600, true},
		"prefixed":  {"0x" + strings.Repeat("0", 63) + "1", 0o400, true},
		"group":     {strings.Repeat("0", 63) + "1", 0o640, false},
		"everybody": {strings.Repeat("0", 63) + "1", 0o604, false},
		"zero":      {strings.Repeat("0", 64), 0o600, false},
		"short":     {strings.Repeat("1", 62), 0o600, false},
		"order":     {"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 0o600, false},
		"long":      {strings.Repeat("1", 4000), 0o600, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKey(path)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "1111") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if _, err := ReadKey(dir); err == nil {
		t.Error("took a folder")
	}
}

func agrees(t *testing.T, node *testservers.EVM, k *Key, tx Tx) {
	t.Helper()
	raw, hash, err := k.Sign(&tx)
	if err != nil {
		t.Fatal(err)
	}
	back, from, again, err := ParseTx(raw)
	if err != nil || from != k.Address() || again != hash || fmt.Sprint(back.fields()) != fmt.Sprint(tx.fields()) {
		t.Fatalf("ours reads its own as %+v of %s, %v", back, from, err)
	}
	got, err := node.Decode(hex.EncodeToString(raw))
	if err != nil {
		t.Fatalf("go-ethereum refuses %x: %v", raw, err)
	}
	value := tx.Value
	if value == nil {
		value = new(big.Int)
	}
	for name, want := range map[string]string{
		"type": "2", "chain_id": fmt.Sprint(tx.ChainID), "nonce": fmt.Sprint(tx.Nonce), "gas": fmt.Sprint(tx.Gas), "tip": fmt.Sprint(tx.Tip), "cap": fmt.Sprint(tx.Cap),
		"to": tx.To.String(), "value": value.String(), "data": hex.EncodeToString(tx.Data), "hash": hash.String(), "from": k.Address().String(), "raw": hex.EncodeToString(raw),
	} {
		if fmt.Sprint(got[name]) != want {
			t.Errorf("%s: go-ethereum reads %v, ours wrote %s", name, got[name], want)
		}
	}
}

// What is signed here is what go-ethereum reads, field by field, and who signed.
func FuzzTransaction(f *testing.F) {
	f.Add(uint64(1337), uint64(0), uint64(1), uint64(2), uint64(30000), []byte{}, []byte{}, byte(1))
	f.Add(uint64(1), uint64(127), uint64(128), uint64(1)<<63, uint64(21000), []byte{1, 0}, []byte(strings.Repeat("x", 55)), byte(2))
	f.Add(^uint64(0)>>3, ^uint64(0)-1, ^uint64(0), ^uint64(0), uint64(255), []byte(strings.Repeat("\xff", 32)), []byte(strings.Repeat("\x00", 56)), byte(255))
	f.Add(uint64(256), uint64(55), uint64(56), uint64(0), uint64(0), []byte{0x7f}, []byte{0x7f}, byte(9))
	f.Add(uint64(256), uint64(55), uint64(56), uint64(0), uint64(0), []byte{0x80}, []byte{0x80}, byte(9))
	f.Add(uint64(5), uint64(5), uint64(5), uint64(5), uint64(5), []byte{5}, []byte(strings.Repeat("y", 70_000)), byte(3))
	node := testservers.StartEVM(f)
	f.Fuzz(func(t *testing.T, chain, nonce, tip, top, gas uint64, value, data []byte, k byte) {
		if chain == 0 || chain > 1<<62 || k == 0 || len(value) > 32 {
			t.Skip()
		}
		tx := Tx{ChainID: chain, Nonce: nonce, Tip: tip, Cap: top, Gas: gas, Value: new(big.Int).SetBytes(value), Data: data}
		copy(tx.To[:], data)
		agrees(t, node, testKey(t, k), tx)
	})
}

// Whatever bytes are read as a transaction, go-ethereum reads as the same one,
// and there are no others that mean it.
func FuzzParseTx(f *testing.F) {
	k := testKey(f, 7)
	raw, _, err := k.Sign(&Tx{ChainID: 1337, Nonce: 1, Tip: 2, Cap: 300, Gas: 30000, To: k.Address(), Data: []byte(strings.Repeat("anchor", 13))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for i := range 12 { // every kind of place
		b := append([]byte(nil), raw...)
		b[i] ^= 0x40
		f.Add(b)
	}
	f.Add(append(raw, 0))
	f.Add(raw[:len(raw)-1])
	f.Add([]byte{2, 0xf9, 0, 0})
	node := testservers.StartEVM(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, from, hash, err := ParseTx(raw)
		if err != nil {
			return
		}
		got, err := node.Decode(hex.EncodeToString(raw))
		if err != nil {
			t.Fatalf("ours takes what go-ethereum refuses: %x: %v", raw, err)
		}
		if got["hash"] != hash.String() || got["from"] != from.String() || got["data"] != hex.EncodeToString(tx.Data) || got["raw"] != hex.EncodeToString(raw) {
			t.Fatalf("ours reads %x as %s of %s, go-ethereum as %v", raw, hash, from, got)
		}
	})
}

// A node's answer is a number, a refusal or nothing.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"jsonrpc":"2.0","id":1,"result":"0x1"}`, `{"id":1,"result":null}`, `{"id":1,"error":{"code":-32000,"message":"nonce too low"}}`, `{"id":2,"result":"0x1"}`,
		`[]`, `null`, `{"id":1,"result":"0x` + strings.Repeat("f", 64) + `"}`, `{"id":1,"result":"0x-1"}`, `{"id":1,"result":{"number":"0x1","hash":"0x"}}`, `{"id":1,"error":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		var q quantity
		if err := parseAnswer(answer, &q); err == nil && !strings.Contains(strings.ToLower(string(answer)), "result") {
			t.Fatalf("read %d out of %q", q, answer)
		}
		var b *block
		if err := parseAnswer(answer, &b); err != nil && len(err.Error()) > 1000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
	})
}
