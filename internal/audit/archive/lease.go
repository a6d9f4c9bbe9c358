package archive

import (
	"context"
	"errors"
	"time"
)

// leaseTime is how long a replica that died keeps others from a tenant. One that
// works prolongs it four times as often, however long an upload takes; one that
// loses it does no harm: keys are taken once and the ledger moves in order.
const leaseTime = 12 * time.Second

var errLost = errors.New("the archive's lease is lost")

// hold prolongs a claim until end is called. The context it gives ends with
// errLost before the claim can have run out: the ledger's clock starts it no
// earlier than our question.
func (a *Archiver) hold(ctx context.Context, l Ledger) (held context.Context, end func()) {
	held, lose := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		asked := time.Now()
		tick := time.NewTicker(a.cfg.Lease / 4)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			ask, cancel := context.WithTimeout(held, a.cfg.Lease/4)
			ok, err := l.Claim(ask, a.holder, a.cfg.Lease)
			cancel()
			switch {
			case err == nil && ok:
				asked = now
			case err == nil || time.Since(asked) >= a.cfg.Lease*3/4:
				lose(errLost)
			}
		}
	}()
	return held, func() {
		lose(nil)
		<-ended
	}
}

// lost reports whether a context of hold's ended because the claim did.
func lost(held context.Context) bool { return errors.Is(context.Cause(held), errLost) }
