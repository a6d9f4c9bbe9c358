package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const insertEvent = `WITH e AS (
	INSERT INTO audit_events (tenant_id, id, at, type, severity, actor, resource, outcome, request_id, body, leaf)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11))
	INSERT INTO audit_personal (tenant_id, event_id, salts, actor_name, ip, user_agent)
	VALUES ($1, $2, $12, $13, $14, $15)`

// insertEvents is insertEvent for many: one statement, columns as arrays.
const insertEvents = `WITH e AS (
	INSERT INTO audit_events (tenant_id, id, at, type, severity, actor, resource, outcome, request_id, body, leaf)
	SELECT $1, * FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
		$9::text[], $10::text[], $11::bytea[]))
	INSERT INTO audit_personal (tenant_id, event_id, salts, actor_name, ip, user_agent)
	SELECT $1, * FROM unnest($2::uuid[], $12::bytea[], $13::text[], $14::text[], $15::text[])`

// queueEvent is queueEvents for one.
func queueEvent(b *pgx.Batch, id tenant.ID, e *record.Sealed) {
	queueEvents(b, id, []*record.Sealed{e})
}

// queueEvents adds events to a transaction that has their tenant set.
func queueEvents(b *pgx.Batch, id tenant.ID, events []*record.Sealed) {
	if len(events) == 1 {
		e := events[0]
		salts := e.Salts.Bytes()
		b.Queue(insertEvent, [16]byte(id), [16]byte(e.ID), e.Time, string(e.Type), string(e.Severity), e.Actor.ID, e.Resource,
			string(e.Outcome), e.RequestID, string(e.Body), e.Leaf[:],
			salts[:], nullable(e.Actor.Name), nullable(e.IPString()), nullable(e.UserAgent))
		return
	}
	var c columns
	for _, e := range events {
		c.add(e)
	}
	b.Queue(insertEvents, [16]byte(id), c.id, c.at, c.kind, c.severity, c.actor, c.resource, c.outcome, c.request,
		c.body, c.leaf, c.salt, c.name, c.ip, c.agent)
}

type columns struct {
	id                                                      [][16]byte
	at                                                      []time.Time
	kind, severity, actor, resource, outcome, request, body []string
	leaf, salt                                              [][]byte
	name, ip, agent                                         []*string
}

func (c *columns) add(e *record.Sealed) {
	salts := e.Salts.Bytes()
	c.id = append(c.id, e.ID)
	c.at = append(c.at, e.Time)
	c.kind = append(c.kind, string(e.Type))
	c.severity = append(c.severity, string(e.Severity))
	c.actor = append(c.actor, e.Actor.ID)
	c.resource = append(c.resource, e.Resource)
	c.outcome = append(c.outcome, string(e.Outcome))
	c.request = append(c.request, e.RequestID)
	c.body = append(c.body, string(e.Body))
	c.leaf = append(c.leaf, e.Leaf[:])
	c.salt = append(c.salt, salts[:])
	c.name = append(c.name, nullable(e.Actor.Name))
	c.ip = append(c.ip, nullable(e.IPString()))
	c.agent = append(c.agent, nullable(e.UserAgent))
}
