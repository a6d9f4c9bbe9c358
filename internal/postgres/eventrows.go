package postgres

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// A row of audit_events holds what one commit made durable for one tenant, so
// that an event's price is not a row's.
const (
	rowEvents = 256     // also the table's limit
	rowBytes  = 1 << 20 // of bodies; one event has at most 8 KiB
)

// The body comes last: buffers that grow to hold it copy little then.
const insertRow = `WITH e AS (
	INSERT INTO audit_events (tenant_id, id, n, first_at, last_at, words, leaf, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $12))
	INSERT INTO audit_personal (tenant_id, event_id, salts, actor_name, ip, user_agent) VALUES ($1, $2, $8, $9, $10, $11)`

// packed is a row to be written: column by column, element by element.
type packed struct {
	id          uuid.UUID
	n           int
	first, last time.Time
	words       []byte
	body        []byte // one to a line; canonical JSON has no line feed in it
	leaf, salts []byte
	name        []*string
	ip, agent   []*string
	seen        [facets]uint32 // the word before, of each facet
}

// queueEvent is queueEvents for one.
func queueEvent(b *pgx.Batch, id tenant.ID, e *record.Sealed) {
	queueEvents(b, id, []*record.Sealed{e})
}

// queueEvents adds events, in their order, to a transaction that has their
// tenant set. It answers their rows.
func queueEvents(b *pgx.Batch, id tenant.ID, events []*record.Sealed) (rows []*packed) {
	for from := 0; from < len(events); {
		to, size := from, 0
		for to < len(events) && to-from < rowEvents && (to == from || size+len(events[to].Body) < rowBytes) {
			size += len(events[to].Body) + 1
			to++
		}
		p := pack(events[from:to], size)
		if to-from < len(events) {
			p.id = uuid.Must(uuid.NewV7()) // rows of one transaction are numbered by their ids
		}
		b.Queue(insertRow, [16]byte(id), [16]byte(p.id), p.n, p.first, p.last, p.words, p.leaf, p.salts, p.name, p.ip, p.agent, p.body)
		rows = append(rows, p)
		from = to
	}
	return rows
}

// rowOf is the id of the row that has event n of all that the rows have.
func rowOf(rows []*packed, n int) uuid.UUID {
	for n >= rows[0].n {
		n -= rows[0].n
		rows = rows[1:]
	}
	return rows[0].id
}

// packs are rows to be filled again: a full one has some 180 KiB.
var packs = sync.Pool{New: func() any { return new(packed) }}

// free gives the row's memory back, once nothing refers to it.
func (p *packed) free() {
	if cap(p.body) > keepRoom {
		return
	}
	clear(p.name)
	clear(p.ip)
	clear(p.agent)
	packs.Put(p)
}

// pack makes one row of events, which it refers to. A row's id is its first
// event's.
func pack(events []*record.Sealed, size int) *packed {
	n := len(events)
	p := packs.Get().(*packed)
	*p = packed{
		id: events[0].ID, n: n, first: events[0].Time, last: events[0].Time, words: p.words[:0], body: slices.Grow(p.body[:0], size),
		leaf: slices.Grow(p.leaf[:0], 32*n), salts: slices.Grow(p.salts[:0], 48*n), name: p.name[:0], ip: p.ip[:0], agent: p.agent[:0],
	}
	for i, e := range events {
		if i > 0 {
			p.body = append(p.body, '\n')
		}
		p.body = append(p.body, e.Body...)
		p.leaf = append(p.leaf, e.Leaf[:]...)
		salts := e.Salts.Bytes()
		p.salts = append(p.salts, salts[:]...)
		name, ip, agent := e.Personal()
		p.name, p.ip, p.agent = append(p.name, name), append(p.ip, ip), append(p.agent, agent)
		if e.Time.Before(p.first) {
			p.first = e.Time
		}
		if e.Time.After(p.last) {
			p.last = e.Time
		}
		for f, value := range [facets]string{string(e.Type), string(e.Severity), e.Actor.ID, e.Resource, string(e.Outcome), e.RequestID} {
			if value == "" {
				continue
			}
			if w := word(f, value); w != p.seen[f] || i == 0 {
				p.seen[f] = w
				p.words = binary.BigEndian.AppendUint32(p.words, w)
			}
		}
	}
	return p
}
