package main

import (
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
)

// addExpired adds bundles of a log whose first 280 records are expired.
func addExpired(add func(Vector, []byte), trust []string, log *ledger, key, stranger *checkpoint.Signer) {
	const gone = 280
	statement := func(tree tlog.Tree, first int64, by *checkpoint.Signer) []byte {
		d := checkpoint.Deletion{Number: 2, First: first, Tree: tree, Month: time.Date(2019, 11, 1, 0, 0, 0, 0, time.UTC), Days: 2555, At: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
		return must(d.Sign(by))
	}
	file := func(statement []byte) []byte {
		return write(bundle.Contents{Checkpoint: log.sign(size, key), From: gone + 1, To: size, Expired: statement}, &log.memory, sealed{log})
	}
	add(Vector{File: "good-expired.bundle", Flags: trust, About: "records 281 to 300; those before are expired, by signed deletion 2"},
		file(statement(log.trees[gone], 201, key)))
	other := newLedger(gone, "false", nil)
	for name, v := range map[string]struct {
		about     string
		statement []byte
	}{
		"root":      {"the deletion speaks of another history", statement(other.trees[gone], 201, key)},
		"range":     {"the deletion ends before the bundle begins, so that records between are unaccounted for", statement(log.trees[gone-1], 201, key)},
		"signature": {"the deletion is signed by another key of the same name", statement(log.trees[gone], 201, stranger)},
		"context":   {"a checkpoint in the place of the deletion", log.sign(gone, key).Signed},
	} {
		add(Vector{File: "bad-deletion-" + name + ".bundle", Flags: trust, Exit: 1, Check: "deletion", About: v.about}, file(v.statement))
	}
}
