package postgres

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const noticeChannel = "openclaw_standing"

// notices hears, from every replica on the database, whose standing changed.
// It only shortens caches that are under a second anyway: a lost notice delays
// a revocation by that much and loses nothing.
type notices struct {
	s      *Store
	mu     sync.Mutex
	hear   []func(id tenant.ID, subject string)
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func startNotices(s *Store) *notices {
	ctx, cancel := context.WithCancel(context.Background())
	n := &notices{s: s, cancel: cancel}
	n.wg.Add(1)
	go n.run(ctx)
	return n
}

func (n *notices) stop() {
	n.cancel()
	n.wg.Wait()
}

// OnStanding calls hear for each change: a subject's, or with subject "" the
// whole tenant's. hear must not block.
func (s *Store) OnStanding(hear func(id tenant.ID, subject string)) {
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	s.notices.hear = append(s.notices.hear, hear)
}

func (n *notices) run(ctx context.Context) {
	defer n.wg.Done()
	for ctx.Err() == nil {
		if err := n.listen(ctx); err != nil && ctx.Err() == nil {
			n.s.log.Warn("listen for revocations", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

func (n *notices) listen(ctx context.Context) error {
	// A connection of its own: a pooled one would keep the LISTEN.
	conn, err := pgx.ConnectConfig(ctx, n.s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), abandonTime)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, `LISTEN openclaw_standing`); err != nil {
		return err
	}
	for {
		note, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		whole, subject, _ := strings.Cut(note.Payload, "/")
		id, err := tenant.ParseID(whole)
		if err != nil {
			continue
		}
		n.tell(id, subject)
	}
}

func (n *notices) tell(id tenant.ID, subject string) {
	n.s.tenants.forget(id)
	n.mu.Lock()
	hear := n.hear
	n.mu.Unlock()
	for _, h := range hear {
		h(id, subject)
	}
}

// standingChanged tells every replica, at the commit, to look again.
func (tx *Tx) standingChanged(subject string) {
	tx.later(`SELECT pg_notify($1, $2)`, noticeChannel, tx.scope.ID().String()+"/"+subject)
}
