package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// flushAt is how many bytes of parameters are sent at once. A full row of events
// goes alone: the database works on it while the next is encoded, and the
// driver's buffer, which is made anew each time, does not grow to a whole commit.
const flushAt = 64 << 10

// sendLarge runs a batch as pgx's SendBatch does, as one pipeline with one Sync,
// in pieces and with []byte parameters as they are: of a bulk append's time here
// the copying was a fifth.
func (s *Store) sendLarge(ctx context.Context, b *pgx.Batch) error {
	c, err := s.work.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	conn := c.Conn()
	statements := make([]*pgconn.StatementDescription, b.Len())
	for i, q := range b.QueuedQueries {
		//sqllint:allow what was queued was judged where it was queued
		if statements[i], err = conn.Prepare(ctx, q.SQL, q.SQL); err != nil { // the connection knows it from then on
			return err
		}
	}
	p := conn.PgConn().StartPipeline(ctx)
	var params pgx.ExtendedQueryBuilder
	unsent := 0
	for i, q := range b.QueuedQueries {
		if err := build(&params, conn.TypeMap(), statements[i], q.Arguments); err != nil {
			_ = p.Close() // closes the connection
			return err
		}
		p.SendQueryStatement(statements[i], params.ParamValues, params.ParamFormats, params.ResultFormats)
		for _, v := range params.ParamValues {
			unsent += len(v)
		}
		if unsent >= flushAt {
			unsent = 0
			if err := p.Flush(); err != nil {
				return err
			}
		}
	}
	if err := p.Sync(); err != nil {
		return err
	}
	return p.Close()
}

// build encodes arguments. Text and bytea are on the wire what they are in memory.
func build(params *pgx.ExtendedQueryBuilder, types *pgtype.Map, sd *pgconn.StatementDescription, args []any) error {
	var room [16]any
	rest := append(room[:0], args...)
	for i, v := range rest {
		if _, ok := v.([]byte); ok {
			rest[i] = nil
		}
	}
	if err := params.Build(types, sd, rest); err != nil {
		return err
	}
	for i, v := range args {
		if v, ok := v.([]byte); ok && v != nil {
			params.ParamValues[i], params.ParamFormats[i] = v, pgx.BinaryFormatCode
		}
	}
	return nil
}
