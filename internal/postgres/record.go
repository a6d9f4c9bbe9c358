package postgres

import (
	"context"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Record makes ev durable in the tenant's log and returns its receipt.
func (s *Store) Record(ctx context.Context, scope tenant.Scope, ev audit.Event) (audit.Receipt, error) {
	j, err := s.seal(scope, ev)
	if err != nil {
		return audit.Receipt{}, err
	}
	if err := s.recorder.do(ctx, j); err != nil {
		return audit.Receipt{}, unrecorded(ctx, err)
	}
	return j.events[0].Receipt(), nil
}

// RecordAll makes events durable in their order, so many to a commit, and
// returns their receipts. After an error a first part of them may be in the log.
func (s *Store) RecordAll(ctx context.Context, scope tenant.Scope, events []audit.Event) ([]audit.Receipt, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	receipts := make([]audit.Receipt, 0, len(events))
	for len(events) > 0 {
		n := min(len(events), recordBatch)
		sealed, err := record.SealAll(scope.ID().String(), events[:n], s.now)
		if err != nil {
			return receipts, fault.Wrap(err, fault.NoRecord, "the events could not be recorded")
		}
		if err := s.recorder.do(ctx, &job{scope: scope, events: sealed, done: make(chan error, 1)}); err != nil {
			return receipts, unrecorded(ctx, err)
		}
		for i := range sealed {
			receipts = append(receipts, sealed[i].Receipt())
		}
		events = events[n:]
	}
	return receipts, nil
}

// Note queues ev and returns; its commit follows within milliseconds. Notes
// that cannot be written are counted and reported, not lost in silence.
func (s *Store) Note(ctx context.Context, scope tenant.Scope, ev audit.Event) error {
	if err := s.Promise(ctx, scope); err != nil {
		return err
	}
	return s.Keep(ctx, scope, ev)
}

// Keep is Note for an event that Promise has counted.
func (s *Store) Keep(ctx context.Context, scope tenant.Scope, ev audit.Event) error {
	j, err := s.seal(scope, ev)
	if err == nil {
		j.done = nil
		err = s.recorder.enqueue(ctx, j)
	}
	if err != nil {
		s.reads.answer(scope.ID(), err)
	}
	return err
}

// NotesLost counts notes that could not be written since the start.
func (s *Store) NotesLost() int64 { return s.recorder.lost.Load() }

// seal makes an event ready to travel.
func (s *Store) seal(scope tenant.Scope, ev audit.Event) (*job, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	sealed, err := record.Seal(scope.ID().String(), ev, s.now)
	if err != nil {
		return nil, fault.Wrap(err, fault.NoRecord, "the event could not be recorded")
	}
	j := &job{scope: scope, one: [1]record.Sealed{sealed}, done: make(chan error, 1)}
	j.events = j.one[:]
	return j, nil
}

// unrecorded says that an event is not known to be durable. It may be: one too
// many is the safe side.
func unrecorded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(err, fault.NoRecord, "the audit log did not answer in time")
	}
	return fault.Wrap(err, fault.NoRecord, "the event could not be recorded")
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
