package app

import (
	"context"
	"errors"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/authn"
)

// filesEvery keeps a change of a file, a revocation above all, inside a second.
const filesEvery = 500 * time.Millisecond

// watchFiles tells, once per change, when a changed certificate, CA or
// revocation list is refused and the old one stays in use, and when a good one
// is back. Who uses the files reads them; this only looks.
func (a *App) watchFiles(clients *authn.ClientCerts) {
	files := map[string]func() error{"tls_certificate": a.listener.Reload}
	if a.admin != nil { // the same files, read by themselves
		files["admin_tls_certificate"] = a.admin.Reload
	}
	if clients != nil {
		files["client_ca_or_crl"] = clients.Reload
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(filesEvery)
		defer tick.Stop()
		bad := map[string]bool{}
		for {
			for name, look := range files {
				err := look()
				if bad[name] == (err != nil) {
					continue
				}
				bad[name] = err != nil
				ev := audit.Event{Type: audit.ConfigChanged, Severity: audit.Warning, Outcome: audit.Success, Reason: name + "_accepted",
					Actor: audit.Actor{Kind: audit.ActorSystem}}
				if err != nil {
					ev.Severity, ev.Outcome, ev.Reason = audit.High, audit.Refused, name+"_refused"
				}
				a.note(ev)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	a.onClose(func() { cancel(); <-done })
}

// certificateReady: a file that was refused is no reason to send traffic away,
// since the old certificate serves and every replica reads the same file. One
// that has ended is.
func (a *App) certificateReady() error {
	if end := a.listener.NotAfter(); !end.IsZero() && time.Now().After(end) {
		return errors.New("the server's certificate has ended")
	}
	return nil
}
