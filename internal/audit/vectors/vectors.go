package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/Nissimmiracles/openclaw/internal/audit/bundle"
	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
)

// Vector is one entry of vectors.json: what openclaw-verify must answer.
type Vector struct {
	File  string   `json:"file"`
	Flags []string `json:"flags"` // before the file; values name files
	Exit  int      `json:"exit"`
	Check string   `json:"check,omitempty"` // that catches it
	Seq   int64    `json:"seq,omitempty"`   // the first wrong record
	Last  int64    `json:"last,omitempty"`  // or it is somewhere up to this one
	About string   `json:"about"`
}

const size = 300 // one whole block and some

// files is everything in the directory, by name.
func files() map[string][]byte {
	origin := checkpoint.Origin(host, tenant)
	key1, key2 := signer(origin, "log 1"), signer(origin, "log 2")
	stranger := signer(origin, "stranger")
	houseKey := signer(checkpoint.HouseOrigin(host), "house")
	w1, w2 := witness{"witness.example/one"}, witness{"witness.example/two"}

	out := map[string][]byte{}
	var list []Vector
	put := func(name string, data []byte) { out[name] = data }
	add := func(v Vector, data []byte) {
		if v.File == "" {
			panic(v.About)
		}
		put(v.File, data)
		list = append(list, v)
	}

	put("log.vkey", []byte(key1.Verifier()+"\n"))
	put("log2.vkey", []byte(key2.Verifier()+"\n"))
	put("house.vkey", []byte(houseKey.Verifier()+"\n"))
	for i, w := range []witness{w1, w2} {
		id, encoded := w.id()
		put(fmt.Sprintf("witness%d.vkey", i+1), fmt.Appendf(nil, "%s+%08x+%s\n", w.name, id, base64.StdEncoding.EncodeToString(encoded)))
	}

	log := newLedger(size, "true", nil)
	quiet := sealed{log}
	top := log.sign(size, key1)
	early := log.sign(240, key1)
	put("early.checkpoint", early.Signed)
	put("top.checkpoint", top.Signed)
	late := newLedger(size+20, "true", nil)
	put("late.checkpoint", late.sign(size+20, key1).Signed)

	trust := []string{"--key", "log.vkey"}
	with := func(more ...string) []string { return append(append([]string(nil), trust...), more...) }
	contents := func(from, to int64) bundle.Contents {
		return bundle.Contents{Checkpoint: top, From: from, To: to}
	}
	whole := write(contents(1, size), &log.memory, quiet)
	part := write(contents(200, 280), &log.memory, quiet)

	// Good.
	add(Vector{File: "good-whole.bundle", Flags: trust, About: "all records"}, whole)
	add(Vector{File: "good-range.bundle", Flags: trust, About: "records 200 to 280 of 300"}, part)
	add(Vector{File: "good-one.bundle", Flags: trust, About: "one record"}, write(contents(256, 256), &log.memory, quiet))
	add(Vector{File: "good-none.bundle", Flags: trust, About: "proofs without records"}, write(contents(1, 0), &log.memory, quiet))
	add(Vector{File: "good-disclosed.bundle", Flags: trust, About: "personal values disclosed"}, write(contents(8, 9), &log.memory, log))
	add(Vector{File: "good-range-since.bundle", Flags: with("--since", "early.checkpoint"),
		About: "the earlier checkpoint's size lies within the range, so the records themselves show that it is a prefix"}, part)
	grown := contents(290, 300)
	grown.Previous = &early
	previous := write(grown, &log.memory, quiet)
	add(Vector{File: "good-previous.bundle", Flags: with("--since", "early.checkpoint"), About: "a consistency proof from the earlier checkpoint"}, previous)
	add(Vector{File: "good-no-key.bundle", Flags: []string{"--since", "early.checkpoint"}, About: "no key, but an earlier checkpoint that the holder kept"}, previous)
	add(Vector{File: "missing-since.bundle", Flags: with("--since", "early.checkpoint"), Exit: 3,
		About: "nothing wrong, but the file cannot show consistency with the earlier checkpoint"}, write(contents(290, 300), &log.memory, quiet))
	add(Vector{File: "good.export", Flags: with("--checkpoint", "top.checkpoint"), About: "a whole export"}, log.export(size))
	add(Vector{File: "good-longer.export", Flags: with("--checkpoint", "early.checkpoint"), About: "an export that runs past its checkpoint: the rest is said to be unchecked"}, log.export(size))
	add(Vector{File: "good.checkpoint", Flags: trust, About: "a checkpoint alone"}, top.Signed)

	addExpired(add, trust, log, key1, stranger)

	cosigned := contents(1, 3)
	cosigned.Checkpoint = log.sign(size, key1, w1, w2)
	both := write(cosigned, &log.memory, quiet)
	add(Vector{File: "good-cosigned.bundle", Flags: with("--witness", "witness1.vkey", "--witness", "witness2.vkey"), About: "two cosignatures"}, both)
	cosigned.Checkpoint = log.sign(size, key1, w1)
	one := write(cosigned, &log.memory, quiet)
	add(Vector{File: "good-quorum.bundle", Flags: with("--witness", "witness1.vkey", "--witness", "witness2.vkey", "--quorum", "1"), About: "one of two cosignatures suffices"}, one)
	add(Vector{File: "bad-quorum.bundle", Flags: with("--witness", "witness1.vkey", "--witness", "witness2.vkey"), Exit: 1, Check: "cosignature", About: "a witness asked for did not sign"}, one)

	succession, err := checkpoint.Succeed(1, 260, key1, key2)
	must(succession, err)
	changed := contents(1, 3)
	changed.Checkpoint, changed.Keys = log.sign(size, key2), [][]byte{succession}
	rotated := write(changed, &log.memory, quiet)
	add(Vector{File: "good-rotated.bundle", Flags: trust, About: "signed by the trusted key's successor"}, rotated)
	add(Vector{File: "good-rotated-new.bundle", Flags: []string{"--key", "log2.vkey"}, About: "the same, the successor trusted"}, rotated)

	house := newLedger(0, "house", nil)
	for i := range 9 {
		name, tree := fmt.Sprintf("other %d", i), log.trees[100+i]
		if i == 4 {
			name, tree = origin, top.Tree
		}
		house.add(leaf(record.HouseLeaf(name, salt("house %d", i), tree)))
	}
	inHouse := contents(1, 3)
	inHouse.House = &bundle.House{Checkpoint: house.sign(9, houseKey), Index: 4, Salt: salt("house %d", 4), Hashes: &house.memory}
	housed := write(inHouse, &log.memory, quiet)
	add(Vector{File: "good-house.bundle", Flags: with("--house-key", "house.vkey"), About: "the house log holds the checkpoint"}, housed)

	// Bad: records.
	add(Vector{File: "bad-field.bundle", Flags: trust, Exit: 1, Check: "leaf", Seq: 221, About: "a field of record 221 changed"},
		edit(part, 221, func(line string) string { return strings.Replace(line, "agents.read", "agents.list", 1) }))
	reLeafed := edit(whole, 221, func(line string) string { return reLeaf(strings.Replace(line, "agents.read", "agents.list", 1)) })
	add(Vector{File: "bad-field-leaf.bundle", Flags: trust, Exit: 1, Check: "block", Seq: 1, Last: 256, About: "record 221 changed and its leaf hash with it"}, reLeafed)
	add(Vector{File: "bad-field-tail.bundle", Flags: trust, Exit: 1, Check: "root", Seq: 1, Last: 300, About: "record 290, in no whole block, changed and its leaf hash with it"},
		edit(whole, 290, func(line string) string { return reLeaf(strings.Replace(line, "agents.read", "agents.list", 1)) }))
	add(Vector{File: "bad-deleted.bundle", Flags: trust, Exit: 1, Check: "sequence", Seq: 230, About: "record 230 deleted"}, edit(part, 230, func(string) string { return "" }))
	add(Vector{File: "bad-deleted-renumbered.bundle", Flags: trust, Exit: 1, Check: "block", Seq: 1, Last: 256, About: "record 230 deleted, those after it renumbered, the last repeated"},
		renumber(edit(whole, 230, func(string) string { return "" }), 300))
	add(Vector{File: "bad-inserted.bundle", Flags: trust, Exit: 1, Check: "sequence", Seq: 232, About: "a record inserted under number 231"},
		edit(part, 231, func(line string) string { return line + "\n" + line }))
	add(Vector{File: "bad-swapped.bundle", Flags: trust, Exit: 1, Check: "block", Seq: 1, Last: 256, About: "records 231 and 232 have each other's content"}, swap(whole, 231, 232))
	add(Vector{File: "bad-swapped-lines.bundle", Flags: trust, Exit: 1, Check: "sequence", Seq: 231, About: "the lines of records 231 and 232 swapped"}, swapLines(whole, 231, 232))
	add(Vector{File: "bad-truncated.bundle", Flags: trust, Exit: 1, Check: "truncated", Seq: 280, About: "the last line is missing"}, edit(part, 280, func(string) string { return "" }))
	add(Vector{File: "bad-cut.bundle", Flags: trust, Exit: 1, Check: "truncated", Seq: 280, About: "the file is cut within its last line"}, part[:len(part)-9])
	add(Vector{File: "bad-truncated-header.bundle", Flags: trust, Exit: 1, Check: "range", About: "the last line is missing and the header says 279"},
		bytes.Replace(edit(part, 280, func(string) string { return "" }), []byte(`"to":280}`), []byte(`"to":279}`), 1))
	add(Vector{File: "bad-beyond.bundle", Flags: trust, Exit: 1, Check: "sequence", Seq: 281, About: "a record after the range"},
		append(bytes.Clone(part), must(bundle.AppendLine(nil, log.records[280]))...))
	add(Vector{File: "bad-block.bundle", Flags: trust, Exit: 1, Check: "block", Seq: 1, Last: 256, About: "a stated block hash is wrong; the records are right, which no reader can know"},
		bytes.Replace(whole, []byte(log.blockHash(0)), []byte(leaf(nil).String()), 1))

	// Bad: JSON. These records are under the signed root.
	for name, v := range map[string]struct{ from, to, about string }{
		"duplicate":  {`"type":`, `"type":"API_REQUEST","type":`, "a member twice"},
		"unsorted":   {`"action":"agents.read",`, `"z":1,"action":"agents.read",`, "members out of order"},
		"whitespace": {`"v":1`, `"v": 1`, "white space"},
		"escape":     {"agents.read", `agents\u002eread`, "a needless escape"},
		"number":     {`"v":1`, `"v":1.0`, "a number in another spelling"},
		"utf8":       {"agents.read", "agents.\xffread", "bytes that are not UTF-8"},
	} {
		odd := newLedger(20, "true", func(seq int, body []byte) []byte {
			if seq == 7 {
				return bytes.Replace(body, []byte(v.from), []byte(v.to), 1)
			}
			return body
		})
		add(Vector{File: "bad-json-" + name + ".bundle", Flags: trust, Exit: 1, Check: "canonical", Seq: 7, About: "record 7, although signed: " + v.about},
			write(bundle.Contents{Checkpoint: odd.sign(20, key1), From: 1, To: 20}, &odd.memory, sealed{odd}))
	}
	add(Vector{File: "bad-json-header.bundle", Flags: trust, Exit: 1, Check: "format", About: "the header says two things about its range"},
		bytes.Replace(part, []byte(`"from":200`), []byte(`"from":200,"From":201`), 1))

	// Bad: disclosure.
	disclosed := write(contents(8, 9), &log.memory, log)
	add(Vector{File: "bad-commitment.bundle", Flags: trust, Exit: 1, Check: "commitment", Seq: 9, About: "another value disclosed than committed to"},
		edit(disclosed, 9, func(line string) string { return strings.Replace(line, `"203.0.113.9"`, `"203.0.113.8"`, 1) }))
	add(Vector{File: "bad-commitment-salt.bundle", Flags: trust, Exit: 1, Check: "commitment", Seq: 9, About: "another salt"},
		edit(disclosed, 9, func(line string) string {
			return strings.Replace(line, salted("ip %d", 9), salted("ip %d", 10), 1)
		}))
	add(Vector{File: "bad-commitment-field.bundle", Flags: trust, Exit: 1, Check: "commitment", Seq: 9, About: "a value disclosed under another field's name"},
		edit(disclosed, 9, func(line string) string { return strings.Replace(line, `"ip":{"salt"`, `"outcome":{"salt"`, 1) }))

	// Bad: the tree and whoever signed it.
	forged := newLedger(size, "false", nil)
	fork := bundle.Contents{Checkpoint: forged.sign(size, key1), From: 200, To: 280}
	forkFile := write(fork, &forged.memory, sealed{forged})
	add(Vector{File: "unseen-fork.bundle", Flags: trust, About: "another history under the right key: nothing shows it without an earlier checkpoint or witnesses, and the report says so"}, forkFile)
	add(Vector{File: "bad-fork.bundle", Flags: with("--since", "early.checkpoint"), Exit: 1, Check: "fork", About: "the same with an earlier checkpoint of 240 records"}, forkFile)
	add(Vector{File: "bad-fork-same.bundle", Flags: with("--since", "top.checkpoint"), Exit: 1, Check: "fork", About: "the same with an earlier checkpoint of as many records"}, forkFile)
	claim := grown
	claim.Checkpoint = fork.Checkpoint
	claim.Previous = &early
	claimed := write(claim, &forged.memory, sealed{forged})
	add(Vector{File: "bad-consistency.bundle", Flags: trust, Exit: 1, Check: "consistency", About: "a fork with the true history's earlier checkpoint as its own"}, claimed)
	resigned := contents(200, 280)
	resigned.Checkpoint = log.sign(size, stranger)
	add(Vector{File: "bad-resigned.bundle", Flags: trust, Exit: 1, Check: "signature", About: "signed by another key of the same name"}, write(resigned, &log.memory, quiet))
	add(Vector{File: "bad-signature.bundle", Flags: trust, Exit: 1, Check: "signature", About: "the size in the checkpoint changed"},
		bytes.Replace(part, []byte(`\n300\n`), []byte(`\n301\n`), 1))
	otherTenant := signer(checkpoint.Origin(host, "01890a5d-ac96-774b-bcce-b302099a8058"), "log 1")
	resigned.Checkpoint = log.sign(size, otherTenant)
	add(Vector{File: "bad-origin.bundle", Flags: trust, Exit: 1, Check: "signature", About: "another tenant's checkpoint by the same key"}, write(resigned, &log.memory, quiet))
	add(Vector{File: "bad-rollback.bundle", Flags: with("--since", "late.checkpoint"), Exit: 1, Check: "rollback", About: "fewer records than the earlier checkpoint had"}, part)
	add(Vector{File: "bad-truncated.export", Flags: with("--checkpoint", "top.checkpoint"), Exit: 1, Check: "truncated", Seq: 291, About: "an export whose tail is missing"}, log.export(290))
	add(Vector{File: "bad-deleted.export", Flags: with("--checkpoint", "top.checkpoint"), Exit: 1, Check: "sequence", Seq: 5, About: "an export without record 5"},
		edit(log.export(size), 5, func(string) string { return "" }))
	add(Vector{File: "bad-old-key.bundle", Flags: trust, Exit: 1, Check: "signature", About: "signed by a key whose successor had taken over"},
		write(bundle.Contents{Checkpoint: top, Keys: changed.Keys, From: 1, To: 3}, &log.memory, quiet))
	usurped, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\nkey 1\n%s\n260\n", origin, stranger.Verifier())}, stranger)
	must(usurped, err)
	again, err := checkpoint.Succeed(2, 270, stranger, key2)
	must(again, err)
	changed.Keys = [][]byte{succession, again}
	add(Vector{File: "bad-succession.bundle", Flags: trust, Exit: 1, Check: "key history", About: "the second succession is not by the first's key"}, write(changed, &log.memory, quiet))
	changed.Keys, changed.Checkpoint = [][]byte{usurped}, log.sign(size, stranger)
	add(Vector{File: "bad-usurped.bundle", Flags: trust, Exit: 1, Check: "signature", About: "a key that names itself the successor"}, write(changed, &log.memory, quiet))
	add(Vector{File: "bad-cosignature.bundle", Flags: with("--witness", "witness1.vkey", "--witness", "witness2.vkey"), Exit: 1, Check: "signature", About: "a witness's signature for another tree"},
		write(bundle.Contents{Checkpoint: bundle.Checkpoint{Tree: top.Tree, Signed: must(checkpoint.AddCosignatures(top.Signed, w1.cosign(early.Signed), w2.cosign(top.Signed)))}, From: 1, To: 3}, &log.memory, quiet))
	inHouse.House.Index = 5
	add(Vector{File: "bad-house.bundle", Flags: with("--house-key", "house.vkey"), Exit: 1, Check: "house", About: "the house log's leaf is another's"}, write(inHouse, &log.memory, quiet))

	for i := range list {
		if list[i].Flags == nil {
			list[i].Flags = []string{}
		}
	}
	sortVectors(list)
	index, err := json.MarshalIndent(list, "", "  ")
	put("vectors.json", append(must(index, err), '\n'))
	put("README.md", readme(list))
	return out
}
