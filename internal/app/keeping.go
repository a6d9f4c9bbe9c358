package app

import (
	"context"
	"path/filepath"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// readsFolder is where this process keeps the counters that tell after a crash
// how many reads it swallowed.
func readsFolder(c Config) string {
	if c.Data == "" {
		return ""
	}
	return filepath.Join(c.Data, "reads")
}

// keepLog holds the log to its retention: what the configuration asks for if it
// is more than is in force, and the deletion of what is past it.
func (a *App) keepLog(ctx context.Context, house tenant.Scope) error {
	days, err := a.Store.KeepFor(ctx, house, a.Config.AuditRetention)
	if err != nil {
		return err
	}
	if days > a.Config.AuditRetention {
		a.log.Warn("AUDIT_LOG_RETENTION_DAYS asks for less than is in force; only `openclaw audit retention` lowers it",
			"configured", a.Config.AuditRetention, "in_force", days)
	}
	a.onClose(a.Store.StartExpiry())
	return nil
}

// logReady answers why the audit log takes no events. Traffic that stays away
// because of it could never show that it does again, so whoever asks has one
// written, which tells of the time without.
func (a *App) logReady(ctx context.Context) error {
	since, times, err := a.Store.Writes()
	if err == nil {
		return nil
	}
	if !a.probing.TryLock() {
		return err
	}
	defer a.probing.Unlock()
	_, err = a.House.Record(ctx, audit.Event{
		Type: audit.SecurityError, Severity: audit.High, Outcome: audit.Failed, Reason: "audit_log_unavailable", Resource: "audit",
		Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"since": since.UTC().Format(time.RFC3339), "failed_commits": times},
	})
	return err
}
