package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/Nissimmiracles/openclaw/internal/audit/checkpoint"
	"github.com/Nissimmiracles/openclaw/internal/audit/merkle"
)

// errBroken stops a log: signing on would put a name to a history that was
// altered. It is for people; nothing retries past it.
var errBroken = errors.New("the stored log contradicts its last checkpoint")

// edge is the last published state of a log, read under its lock.
type edge struct {
	tree     tlog.Tree
	signed   string
	frontier merkle.Frontier
	changes  int // of keys so far
}

func (e *edge) scan(r pgx.Rows) error {
	var root, frontier []byte
	if err := r.Scan(&e.tree.N, &root, &e.signed, &frontier, &e.changes); err != nil {
		return err
	}
	copy(e.tree.Hash[:], root)
	return e.frontier.UnmarshalBinary(frontier)
}

// ledger is one log while it is extended: where it is and how it is written.
type ledger struct {
	origin string
	hashes merkle.Hashes
	seen   tlog.Tree // the newest tree this process knows; zero: none
	edge   edge
}

// check holds the stored state against what was signed and what this process
// saw. It answers the note of a change of keys when there is one to write.
func (l *ledger) check(ctx context.Context, keys Signing, key *checkpoint.Signer) (succession []byte, err error) {
	e := &l.edge
	if e.tree.N < l.seen.N || e.tree.N == l.seen.N && e.tree != l.seen {
		return nil, fmt.Errorf("%w: %s: it has %d records, and had %d before", errBroken, l.origin, e.tree.N, l.seen.N)
	}
	if e.tree.N == 0 {
		return nil, nil
	}
	if e.frontier.Tree() != e.tree {
		return nil, fmt.Errorf("%w: %s: the kept edge is not of the tree of %d records", errBroken, l.origin, e.tree.N)
	}
	if l.seen.N == 0 { // after a start the stored hashes themselves are looked at
		if _, err := (merkle.Prover{Hashes: l.hashes, Tree: e.tree}).Rebuild(ctx); err != nil {
			return nil, errors.Join(errBroken, err)
		}
	}
	signed, err := checkpoint.Open([]byte(e.signed), l.origin, key.Verifier())
	if err != nil && keys.Previous != nil {
		old, oerr := checkpoint.NewSigner(l.origin, keys.Previous)
		if oerr != nil {
			return nil, oerr
		}
		if signed, err = checkpoint.Open([]byte(e.signed), l.origin, old.Verifier()); err == nil {
			if succession, err = checkpoint.Succeed(e.changes+1, e.tree.N, old, key); err != nil {
				return nil, err
			}
		}
	}
	var unknown *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("%s: its last checkpoint is signed by another key; after a change of keys AUDIT_PREVIOUS_KEY_FILE names the one before: %w", l.origin, err)
	case err != nil:
		return nil, errors.Join(errBroken, err)
	case signed != e.tree:
		return nil, fmt.Errorf("%w: %s: size or root is not the signed one", errBroken, l.origin)
	}
	return succession, nil
}
