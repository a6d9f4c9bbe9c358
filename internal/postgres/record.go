package postgres

import (
	"context"
	"errors"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/record"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// Record makes ev durable in the tenant's log and returns its receipt.
func (s *Store) Record(ctx context.Context, scope tenant.Scope, ev audit.Event) (audit.Receipt, error) {
	j, err := s.ask(scope, ev)
	if err != nil {
		return audit.Receipt{}, err
	}
	r, err := s.asked(ctx, j)
	if err != nil {
		return audit.Receipt{}, unrecorded(ctx, err)
	}
	return r, nil
}

// ask is an event on its way, to be sealed with its group; its Details are the
// log's from here on.
func (s *Store) ask(scope tenant.Scope, ev audit.Event) (*job, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	if err := record.Check(&ev); err != nil {
		return nil, fault.Wrap(err, fault.NoRecord, "the event could not be recorded")
	}
	if ev.Time.IsZero() {
		ev.Time = s.now()
	}
	j := asks.Get().(*job)
	j.scope, j.one[0].Event, j.raw = scope, ev, true
	j.events = j.one[:]
	return j, nil
}

// asked waits for an ask's commit. The job is not the caller's any more.
func (s *Store) asked(ctx context.Context, j *job) (audit.Receipt, error) {
	if err := s.recorder.do(ctx, j); err != nil {
		return audit.Receipt{}, err // the recorder may still have it
	}
	r := j.one[0].Receipt()
	*j = job{done: j.done}
	asks.Put(j)
	return r, nil
}

// RecordAll makes events durable, each thousand (recordBatch) in its order, and
// returns their receipts. While one thousand commits, the next is sealed and
// committed beside it: after an error some may be in the log; the receipts of
// those that are known to be come with it.
func (s *Store) RecordAll(ctx context.Context, scope tenant.Scope, events []audit.Event) ([]audit.Receipt, error) {
	if err := scope.Check(); err != nil {
		return nil, err
	}
	receipts := make([]audit.Receipt, 0, len(events))
	var under []*job // way
	var free []*record.Room
	var failed error
	wait := func(most int) {
		for len(under) > most {
			err := s.recorder.wait(ctx, under[0])
			switch {
			case err != nil:
				failed = errors.Join(failed, unrecorded(ctx, err))
			default:
				for i := range under[0].events {
					receipts = append(receipts, under[0].events[i].Receipt())
				}
				free = append(free, under[0].room) // of one that failed the recorder may have a hold yet
			}
			under = under[1:]
		}
	}
	for len(events) > 0 && failed == nil {
		n := min(len(events), recordBatch)
		in := new(record.Room)
		if len(free) > 0 {
			in, free = free[0], free[1:]
		}
		sealed, err := in.Seal(scope.ID().String(), events[:n], s.now)
		if err != nil {
			failed = fault.Wrap(err, fault.NoRecord, "the events could not be recorded")
			break
		}
		j := &job{scope: scope, events: sealed, room: in, done: make(chan error, 1)}
		if err := s.recorder.enqueue(ctx, j); err != nil {
			failed = unrecorded(ctx, err)
			break
		}
		under = append(under, j)
		events = events[n:]
		wait(recordWriters)
	}
	wait(0)
	return receipts, failed
}

// Note queues ev and returns; its commit follows within milliseconds. Notes
// that cannot be written are counted and reported, not lost in silence.
func (s *Store) Note(ctx context.Context, scope tenant.Scope, ev audit.Event) error {
	if err := s.Promise(ctx, scope); err != nil {
		return err
	}
	return s.Keep(ctx, scope, ev)
}

// Keep is Note for an event that Promise has counted. Nobody waits for it, so it
// is sealed with its group, where that is cheap; its Details are the log's from
// here on.
func (s *Store) Keep(ctx context.Context, scope tenant.Scope, ev audit.Event) error {
	if ev.Time.IsZero() {
		ev.Time = s.now()
	}
	err := scope.Check()
	if err == nil {
		err = record.Check(&ev)
	}
	if err == nil {
		j := notes.Get().(*job)
		j.scope, j.one[0].Event, j.raw = scope, ev, true
		j.events = j.one[:]
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
