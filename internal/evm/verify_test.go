package evm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

// An anchor in a real chain verifies against checkpoints before, at and after
// it, and nothing else does.
func TestVerify(t *testing.T) {
	t.Parallel()
	const origin = "audit.example/audit"
	var log merkle.Memory
	var edge merkle.Frontier
	for i := range 900 {
		leaf := tlog.RecordHash(fmt.Append(nil, i))
		if err := log.Append([]tlog.Hash{leaf}, edge.Append(nil, leaf)); err != nil {
			t.Fatal(err)
		}
	}
	whole := merkle.Prover{Hashes: &log, Tree: edge.Tree()}
	at := func(n int64) merkle.Prover {
		tree, err := whole.Root(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return merkle.Prover{Hashes: &log, Tree: tree}
	}
	node := testservers.StartEVM(t)
	key := testKey(t, 5)
	node.Do(t, "fund", "to", key.Address().String(), "wei", "1000000000000000000")
	client, err := NewClient(node.RPC, &http.Transport{DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	wallet := NewWallet(client, key)
	view, err := wallet.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	anchored := at(500).Tree
	signed, err := wallet.Sign(view.ChainID, view.Nonce, anchor.Fee{Tip: 2e9, Cap: 2*view.BaseFee + 2e9}, anchor.Gas, anchor.Calldata(origin, anchored))
	if err != nil {
		t.Fatal(err)
	}
	if err := wallet.Send(t.Context(), signed.Raw); err != nil {
		t.Fatal(err)
	}
	if err := wallet.Send(t.Context(), signed.Raw); err != nil { // again is no error
		t.Fatal(err)
	}
	node.Do(t, "mine", "n", "3")
	mined, err := client.Mined(t.Context(), signed.Hash)
	if err != nil || mined == nil {
		t.Fatalf("%+v, %v", mined, err)
	}
	an := anchor.Anchor{Tree: anchored, ChainID: view.ChainID, Sender: wallet.Sender(), Hash: signed.Hash, Mined: mined, Attempts: []anchor.Attempt{{Signed: signed}}}
	ask := func(size int64) Ask {
		small, large := min(size, 500), max(size, 500)
		proof, err := at(large).Consistency(t.Context(), small)
		if err != nil {
			t.Fatal(err)
		}
		if size == 500 {
			proof = nil
		}
		rec, err := anchor.NewRecord(origin, an, size, proof)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if rec, err = anchor.ReadRecord(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		return Ask{Record: rec, Origin: origin, Head: at(size).Tree, Index: -1, Node: client, Confirmations: 3, Sender: wallet.Sender()}
	}
	for _, size := range []int64{1, 499, 500, 501, 900} {
		r, err := Verify(t.Context(), ask(size))
		if err != nil || r.Wrong != "" || len(r.Unchecked) < 2 {
			t.Errorf("size %d: %+v, %v", size, r, err)
		}
	}
	other := testKey(t, 6).Address().String()
	for name, spoil := range map[string]func(*Ask){
		"another root":       func(a *Ask) { a.Head.Hash[0] ^= 1 },
		"another origin":     func(a *Ask) { a.Origin = "other.example/audit" },
		"another size":       func(a *Ask) { a.Record.Size++ },
		"another root said":  func(a *Ask) { a.Record.Root[3] ^= 1 },
		"no proof":           func(a *Ask) { a.Record.Proof = nil },
		"wrong proof":        func(a *Ask) { a.Record.Proof[0][0] ^= 1 },
		"another checkpoint": func(a *Ask) { a.Head.N++ },
		"another sender":     func(a *Ask) { a.Sender = other },
		"a claimed sender":   func(a *Ask) { a.Record.Sender = other },
		"another chain":      func(a *Ask) { a.Record.ChainID++ },
		"another hash":       func(a *Ask) { a.Record.Transaction = "0x" + strings.Repeat("00", 32) },
		"a changed byte": func(a *Ask) {
			a.Record.Raw = strings.Replace(a.Record.Raw, hex.EncodeToString([]byte("OCLA")), "4f434c42", 1)
		},
		"too young":    func(a *Ask) { a.Confirmations = 4 },
		"a later leaf": func(a *Ask) { a.Index = 500 },
		"never sent": func(a *Ask) {
			raw, hash, err := key.Sign(&Tx{ChainID: view.ChainID, Nonce: 77, Tip: 1, Cap: 1e9, Gas: anchor.Gas, To: key.Address(), Data: anchor.Calldata(origin, anchored)})
			if err != nil {
				t.Fatal(err)
			}
			a.Record.Raw, a.Record.Transaction = "0x"+hex.EncodeToString(raw), hash.String()
		},
	} {
		a := ask(700)
		spoil(&a)
		if r, err := Verify(t.Context(), a); err != nil || r.Wrong == "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	// Offline it says that it looked into no chain; after a reorganisation the
	// chain has it no more.
	a := ask(700)
	a.Node = nil
	if r, err := Verify(t.Context(), a); err != nil || r.Wrong != "" || !strings.Contains(strings.Join(r.Unchecked, "\n"), "in a chain") {
		t.Errorf("offline: %+v, %v", r, err)
	}
	node.Do(t, "reorg", "depth", "3")
	if r, err := Verify(t.Context(), ask(700)); err != nil || r.Wrong == "" {
		t.Errorf("after a reorganisation: %+v, %v", r, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":"openclaw-anchor/1","origin":"a","size":1,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","checkpoint":1,"chain_id":1,"sender":"0x","transaction":"0x","raw":"0x02"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := anchor.ReadRecord(bytes.NewReader(text))
		if err != nil {
			return
		}
		r, err := Verify(t.Context(), Ask{Record: rec, Origin: rec.Origin, Head: tlog.Tree{N: rec.Size, Hash: rec.Root}, Index: -1})
		if err == nil && r.Wrong == "" { // then somebody's key signed just that
			raw, _ := rec.Bytes()
			if !bytes.Contains(raw, rec.Root[:]) {
				t.Fatalf("believes %s", text)
			}
		}
	})
}
