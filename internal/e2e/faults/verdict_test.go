package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/verify"
)

// record is one event, as its bundle has it.
type record struct {
	Seq  int64
	Body struct {
		ID, Time, Type, Outcome, Reason, Resource, Action string
		RequestID                                         string `json:"request_id"`
		Details                                           struct {
			Change, Intent string
			Lost           int64
			AtMost         int64 `json:"lost_at_most"`
			Status         int64
		}
	}
}

// kept is a checkpoint that a tenant kept, and the keys it goes by.
type kept struct {
	Checkpoint string
	Key        string
	HouseKey   string `json:"house_key"`
}

func (p *process) checkpoint(t testing.TB, c *customer) (k kept) {
	t.Helper()
	if err := p.get(t, "/v1/audit/checkpoint", c.token, 200).into(&k); err != nil {
		t.Fatal(err)
	}
	return k
}

// keyOf is the key of a log that no client of this test can ask for.
func (m *machine) keyOf(t testing.TB, name string) string {
	t.Helper()
	out, err := m.command(t, nil, "audit", "checkpoint", "--tenant", name, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var k kept
	if err := json.Unmarshal(out, &k); err != nil || k.Key == "" {
		t.Fatalf("the checkpoint of %s: %.300s, %v", name, out, err)
	}
	return k.Key
}

// log takes a tenant's whole log out by the command line, verifies it offline
// against every checkpoint that was kept, and reads it.
func (m *machine) log(t testing.TB, name string, key, houseKey string, held []kept) []record {
	t.Helper()
	file := filepath.Join(m.dir, name+".bundle")
	cmd := m.command(t, nil, "audit", "bundle", "--tenant", name, "-o", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bundle of %s: %v: %s", name, err, out)
	}
	defer os.Remove(file)
	options := []verify.Options{{Key: key, HouseKey: houseKey}}
	for _, k := range held {
		options = append(options, verify.Options{Key: key, Since: k.Checkpoint})
	}
	for i, o := range options {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := verify.Verify(f, o)
		_ = f.Close()
		if err != nil || rep.Wrong != nil || len(rep.Missing) > 0 {
			t.Fatalf("the bundle of %s against option %d: wrong %+v, missing %v, %v", name, i, rep.Wrong, rep.Missing, err)
		}
	}
	return readBundle(t, file)
}

func readBundle(t testing.TB, file string) (all []record) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 2<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), `{"body":`) {
			continue // the header, a block
		}
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Seq != int64(len(all))+1 {
			t.Fatalf("record %d follows %d", r.Seq, len(all))
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// document is a memory that is there in the end.
type document struct {
	ID      string
	Tags    []string
	Version int64
}

func (p *process) documents(t testing.TB, c *customer) map[string]document {
	t.Helper()
	all := map[string]document{}
	for cursor := ""; ; {
		var page struct {
			Items []document
			Next  string `json:"next_cursor"`
		}
		if err := p.get(t, "/v1/memories?limit=200&cursor="+cursor, c.token, 200).into(&page); err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Items {
			all["memory/"+d.ID] = d
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// found is what the verdict counted.
type found struct {
	asked, answered, acknowledged, events           int
	documents, effects, intents, unknown            int
	reads, readsMissing, readsTold, checkpointsHeld int
}

func (f found) String() string {
	return fmt.Sprintf("%d requests, %d answered, %d changes acknowledged; %d events in three logs, %d documents there, %d effects outside, %d intents (%d closed as unknown); %d reads answered, %d of them not in the log, %d told as lost; %d kept checkpoints hold",
		f.asked, f.answered, f.acknowledged, f.events, f.documents, f.effects, f.intents, f.unknown, f.reads, f.readsMissing, f.readsTold, f.checkpointsHeld)
}

// judge ends the load, stops the platforms, and holds the logs against every
// answer. p is the one process that is up.
func (c *crowd) judge(p *process, held map[*customer][]kept) (f found, verdicts []*verdict) {
	t, m := c.t, c.m
	t.Helper()
	c.end()
	tenants := []*customer{m.plain, m.strict}
	there := map[*customer]map[string]document{}
	for _, who := range tenants {
		there[who] = p.documents(t, who)
		f.documents += len(there[who])
	}
	m.settled(t)
	now := p.checkpoint(t, m.plain)
	mine := p.checkpoint(t, m.strict)
	p.stop(t)

	logs := map[*customer][]record{
		m.plain:  m.log(t, m.plain.name, now.Key, now.HouseKey, held[m.plain]),
		m.strict: m.log(t, m.strict.name, mine.Key, mine.HouseKey, held[m.strict]),
	}
	for _, ks := range held {
		f.checkpointsHeld += len(ks)
	}
	house := m.log(t, "platform", m.keyOf(t, "platform"), now.HouseKey, nil)
	f.events = len(logs[m.plain]) + len(logs[m.strict]) + len(house)
	f.asked = len(c.asked)
	effects := m.outside.effects()
	for _, who := range tenants {
		v := &verdict{c: c, t: t, who: who, log: logs[who], house: house, there: there[who], effects: effects, f: &f}
		v.all()
		verdicts = append(verdicts, v)
	}
	f.effects = len(effects)
	for id := range effects {
		if c.asked[id] == nil {
			t.Errorf("an effect of no request: %s", id)
		}
	}
	// Every key that a client insisted on has one document, or had it.
	for key := range c.wanted {
		if c.created[key] == "" {
			t.Errorf("a create was never answered: %s", key)
		}
	}
	return f, verdicts
}

// settled waits for the sweep that closes what an act could not say of its end.
func (m *machine) settled(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the sweep tells nobody
		n := m.number(t, `SELECT count(*) FROM audit_intents`)
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d acts are still open", n)
		}
	}
}

// verdict is one tenant's.
type verdict struct {
	c       *crowd
	t       testing.TB
	who     *customer
	log     []record
	house   []record
	there   map[string]document
	effects map[string]int
	slack   int64 // reads told as lost beyond those answered: they were under way
	f       *found
}

func (v *verdict) all() {
	v.changes()
	v.acts()
	v.answers()
}

// doctored shows that the verdict is no formality: with any one thing missing,
// or one too many, it is another.
func (v *verdict) doctored(t *testing.T) {
	t.Helper()
	first := func(what string, is func(record) bool) int {
		t.Helper()
		i := slices.IndexFunc(v.log, is)
		if i < 0 {
			t.Fatalf("%s has no %s to leave out", v.who.name, what)
		}
		return i
	}
	arrived := func(r record) bool { return v.effects[r.Body.RequestID] == 1 }
	kind := func(kind string) func(record) bool {
		return func(r record) bool {
			a := v.c.asked[r.Body.RequestID]
			return a != nil && a.kind == kind && a.status > 0 && a.status < 500
		}
	}
	cases := map[string]func(record) bool{
		"created": func(r record) bool { return r.Body.Details.Change == "created" },
		"updated": func(r record) bool { return r.Body.Details.Change == "updated" },
		"deleted": func(r record) bool { return r.Body.Details.Change == "deleted" },
		"intent":  func(r record) bool { return r.Body.Outcome == "intent" && arrived(r) },
		"outcome": func(r record) bool { return r.Body.Details.Intent != "" && r.Body.Type == "EGRESS" },
		"read":    kind(kindRead),
	}
	if v.who == v.c.m.plain {
		cases["refusal"], cases["login"] = kind(kindRefusal), kind(kindLogin)
	}
	judged := func(log []record) int {
		w := *v
		heard := &listener{TB: t}
		w.t, w.log, w.f = heard, log, &found{}
		w.all()
		return heard.n
	}
	for name, is := range cases {
		i := first(name, is)
		left := slices.Delete(slices.Clone(v.log), i, i+1)
		if name == "read" { // more than may have been under way
			for range v.slack {
				if i := slices.IndexFunc(left, is); i >= 0 {
					left = slices.Delete(left, i, i+1)
				}
			}
		}
		if judged(left) == 0 {
			t.Errorf("%s: a log without its first %s passes", v.who.name, name)
		}
		if name == "read" && v.who == v.c.m.plain || name == "intent" {
			continue // a plain read told twice harms nobody; an intent's copy has the same id
		}
		if judged(slices.Insert(slices.Clone(v.log), i, v.log[i])) == 0 {
			t.Errorf("%s: a log with twice its first %s passes", v.who.name, name)
		}
	}
	w := *v
	heard := &listener{TB: t}
	w.t, w.f, w.there = heard, &found{}, maps.Clone(v.there)
	for res := range w.there {
		delete(w.there, res)
		break
	}
	if w.all(); heard.n == 0 {
		t.Errorf("%s: a lost document passes", v.who.name)
	}
}

// listener hears complaints and keeps them.
type listener struct {
	testing.TB
	n int
}

func (l *listener) Errorf(string, ...any) { l.n++ }

// changes matches documents and events both ways, by id.
func (v *verdict) changes() {
	created, updated, deleted := map[string]int{}, map[string]int64{}, map[string]int{}
	for _, r := range v.log {
		if r.Body.Type != "MEMORY_CHANGED" {
			continue
		}
		switch r.Body.Details.Change {
		case "created":
			created[r.Body.Resource]++
		case "updated":
			updated[r.Body.Resource]++
		case "deleted":
			deleted[r.Body.Resource]++
		default:
			v.t.Errorf("event %d changes %s how? %q", r.Seq, r.Body.Resource, r.Body.Details.Change)
		}
	}
	for res, n := range created {
		_, is := v.there[res]
		if n != 1 || deleted[res] > 1 || is == (deleted[res] == 1) {
			v.t.Errorf("%s: %d events of its creation, %d of its deletion, there: %t", res, n, deleted[res], is)
		}
	}
	keys := map[string]string{}
	for res, d := range v.there {
		if created[res] != 1 {
			v.t.Errorf("there without its event: %s", res)
		}
		if d.Version != 1+updated[res] {
			v.t.Errorf("%s is version %d, and the log has %d updates", res, d.Version, updated[res])
		}
		if d.Tags[0] == "large" {
			if !slices.Contains(v.c.large, res) {
				v.t.Errorf("refused, and there: %s", res)
			}
			continue
		}
		if other := keys[d.Tags[0]]; other != "" {
			v.t.Errorf("one idempotency key made %s and %s", other, res)
		}
		keys[d.Tags[0]] = res
		if id := v.c.created[d.Tags[0]]; "memory/"+id != res {
			v.t.Errorf("the key %s was answered with %s and made %s", d.Tags[0], id, res)
		}
	}
	for _, m := range []map[string]int64{updated} {
		for res := range m {
			if created[res] != 1 {
				v.t.Errorf("%s was updated and never created", res)
			}
		}
	}
	for _, res := range v.c.large {
		if _, is := v.there[res]; !is && v.who == v.c.m.plain {
			v.t.Errorf("acknowledged and lost: %s", res)
		}
	}
	versions := map[string]bool{}
	for _, a := range v.c.asked {
		if a.tenant != v.who || a.resource == "" || a.status == 0 || a.status >= 300 {
			continue
		}
		v.f.acknowledged++
		switch a.kind {
		case kindCreate:
			if created[a.resource] != 1 {
				v.t.Errorf("acknowledged and lost: %s", a.resource)
			}
		case kindUpdate:
			at := fmt.Sprint(a.resource, " ", a.version)
			if versions[at] || a.version > v.there[a.resource].Version {
				v.t.Errorf("acknowledged version %d of %s, which is version %d", a.version, a.resource, v.there[a.resource].Version)
			}
			versions[at] = true
		case kindDelete:
			if deleted[a.resource] != 1 {
				v.t.Errorf("acknowledged and there again: %s", a.resource)
			}
		}
	}
}

// acts: no effect without its intent, no intent without its end.
func (v *verdict) acts() {
	intents, ends := map[string]record{}, map[string][]record{}
	byRequest := map[string][]record{}
	for _, r := range v.log {
		switch {
		case r.Body.Outcome == "intent":
			intents[r.Body.ID] = r
			if r.Body.Type == "EGRESS" {
				byRequest[r.Body.RequestID] = append(byRequest[r.Body.RequestID], r)
				v.f.intents++
			}
		case r.Body.Details.Intent != "":
			ends[r.Body.Details.Intent] = append(ends[r.Body.Details.Intent], r)
			if r.Body.Outcome == "unknown" {
				v.f.unknown++
			}
		}
	}
	for id, r := range intents {
		n := len(ends[id])
		last := r.Body.Type == "DATA_EXPORTED" && r.Seq > int64(len(v.log))-8 // of the bundle itself
		switch {
		case n == 0 && !last:
			v.t.Errorf("intent %d (%s %s) has no outcome", r.Seq, r.Body.Type, r.Body.RequestID)
		case n > 1 && !slices.ContainsFunc(ends[id], func(e record) bool { return e.Body.Outcome == "unknown" }):
			v.t.Errorf("intent %d has %d outcomes", r.Seq, n)
		}
		for _, e := range ends[id] {
			if e.Seq < r.Seq {
				v.t.Errorf("outcome %d stands before its intent %d", e.Seq, r.Seq)
			}
			if e.Body.Type == "EGRESS" && e.Body.Outcome == "success" && v.effects[r.Body.RequestID] == 0 {
				v.t.Errorf("outcome %d tells of an effect that never arrived", e.Seq)
			}
		}
	}
	for id, es := range ends {
		if _, ok := intents[id]; !ok {
			v.t.Errorf("outcome %d has no intent", es[0].Seq)
		}
	}
	for _, a := range v.c.asked {
		if a.tenant != v.who || a.kind != kindAct {
			continue
		}
		n := v.effects[a.id]
		if n > 1 {
			v.t.Errorf("one request had %d effects: %s", n, a.id)
		}
		if n > 0 && len(byRequest[a.id]) != 1 {
			v.t.Errorf("an effect with %d intents: %s", len(byRequest[a.id]), a.id)
		}
		if a.status == 200 {
			v.f.acknowledged++
			if n != 1 || len(byRequest[a.id]) != 1 {
				v.t.Errorf("acknowledged, with %d effects and %d intents: %s", n, len(byRequest[a.id]), a.id)
			}
		}
		if a.status == 503 && n > 0 && a.code == "audit_unavailable" && len(byRequest[a.id]) == 0 {
			v.t.Errorf("refused for want of a record and done: %s", a.id)
		}
	}
}

// answers: whatever was answered is in the log once, but plain reads, which the
// log may say it lost.
func (v *verdict) answers() {
	events := map[string]int{}
	for _, log := range [][]record{v.log, v.house} {
		for _, r := range log {
			if r.Body.RequestID != "" && r.Body.Details.Intent == "" { // an act's intent stands for it
				events[r.Body.RequestID]++
			}
		}
	}
	told := int64(0)
	for _, r := range v.log {
		if r.Body.Reason == "reads_lost" {
			told += r.Body.Details.Lost
			if r.Body.Details.AtMost != 0 {
				v.t.Errorf("event %d tells of at most %d reads lost; the counters are there to be exact", r.Seq, r.Body.Details.AtMost)
			}
		}
	}
	var missing, open int64
	for _, a := range v.c.asked {
		if a.tenant != v.who {
			continue
		}
		n := events[a.id]
		readish := a.kind == kindRead || a.kind == kindCreate && a.again
		switch {
		case a.status == 0:
			if n == 0 && readish {
				open++
			}
			continue
		case a.status >= 500:
			continue
		}
		v.f.answered++
		if a.kind == kindRead {
			v.f.reads++
		}
		switch {
		case a.alone && n != 1:
			v.t.Errorf("%s answered %d has %d events: %s", a.kind, a.status, n, a.id)
		case n == 0 && readish:
			missing++
		case n == 0:
			v.t.Errorf("%s answered %d is not in the log: %s", a.kind, a.status, a.id)
		}
	}
	v.slack = told - missing
	v.f.readsMissing += int(missing)
	v.f.readsTold += int(told)
	if told < missing || told > missing+open {
		v.t.Errorf("%s: %d answered reads are not in the log (and %d that were under way); it tells of %d", v.who.name, missing, open, told)
	}
	for _, code := range slices.Sorted(maps.Keys(v.c.codes)) {
		switch code {
		case "no answer", "503 audit_unavailable", "503 unavailable", "504 timeout":
		default:
			v.t.Errorf("%d answers of %q", v.c.codes[code], code)
		}
	}
	if v.who == v.c.m.strict && told != 0 {
		v.t.Errorf("reads that are durable first were lost: %d", told)
	}
}
