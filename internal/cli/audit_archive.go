package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

func auditArchive() *cobra.Command {
	return group("archive", "The log's copy in a bucket under object lock: how far it is, and whether it holds", archiveStatus(), archiveVerify(), archiveResume())
}

func archiveStatus() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{Use: "status", Short: "Show up to which record each log is archived", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		states := []app.ArchiveState{}
		err := admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			return a.Rooms(ctx, func(r plane.Room) error {
				if f.tenant != "" && r.Scope().Name() != f.tenant {
					return nil
				}
				s, err := a.ArchiveState(ctx, r)
				states = append(states, s)
				return err
			})
		})
		if err != nil {
			return err
		}
		if f.tenant != "" && len(states) == 0 {
			return hint(fmt.Errorf("there is no tenant %q", f.tenant), "`openclaw tenant list` shows the names")
		}
		if f.json {
			return printJSON(c.OutOrStdout(), states)
		}
		w := c.OutOrStdout()
		for _, s := range states {
			fmt.Fprintf(w, "%-20s %d of %d records archived, %d segments, %d bytes", s.Tenant, s.Upto, s.Newest, s.Segments, s.Bytes)
			if s.Waiting > 0 && !s.Oldest.IsZero() {
				fmt.Fprintf(w, "; the oldest of %d waits for %v", s.Waiting, time.Since(s.Oldest).Round(time.Second))
			}
			fmt.Fprintln(w)
			if s.Halted != "" {
				fmt.Fprintf(w, "%-20s HALTED: %s\n", "", s.Halted)
			}
		}
		return nil
	}}
	c.Flags().StringVar(&f.tenant, "tenant", "", "only this one; platform is the operator's own")
	return f.adminFlags.add(c)
}

func archiveVerify() *cobra.Command {
	var f auditFlags
	var key string
	c := &cobra.Command{
		Use: "verify", Short: "Read a tenant's archive back from the bucket and check all of it; says what it did not check",
		Long: "Read a tenant's archive back from the bucket and check all of it: every segment as openclaw-verify does, that they join without a gap, that their checkpoints are of one history, and that every lock is in force. It believes the bucket's listing and the log's key; what the database says is compared, not believed.\n\nExit code 1: something is wrong, and the first wrong object is named.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			if text, err := os.ReadFile(key); key != "" && err == nil {
				key = string(text)
			}
			return inLog(c, &f, func(ctx context.Context, t inside) error {
				r, err := t.a.VerifyArchive(ctx, t.room, strings.TrimSpace(key))
				if err != nil {
					return hint(err, "nothing was judged; without the signing key at hand, --key names the log's verifier key")
				}
				if f.json {
					err = printJSON(c.OutOrStdout(), r)
				} else {
					err = printArchive(c.OutOrStdout(), r)
				}
				if err == nil && r.Wrong != nil {
					err = exitCode(exitFailed)
				}
				return err
			})
		}}
	c.Flags().StringVar(&f.tenant, "tenant", "", "whose log; platform is the operator's own")
	c.Flags().StringVar(&key, "key", "", "the log's verifier key that you kept, or a file with it")
	return f.adminFlags.add(c)
}

func printArchive(w io.Writer, r *archive.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "records   %d to %d in %d segments, %d bytes\n", r.From, r.To, r.Segments, r.Bytes)
	for _, s := range r.Checked {
		fmt.Fprintf(&b, "checked   %s\n", s)
	}
	for _, s := range r.Unchecked {
		fmt.Fprintf(&b, "unchecked %s\n", s)
	}
	if r.Wrong != nil {
		for _, f := range append([]archive.Finding{*r.Wrong}, r.Others...) {
			fmt.Fprintf(&b, "WRONG     %s: %s: %s\n", f.Object, f.Check, f.Why)
		}
		if r.Intact {
			b.WriteString("intact    all of our own versions are there, proven and joined\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func archiveResume() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use: "resume", Short: "Let a halted archive go on: the next segment is put over what lies under its key", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.tenant == "" {
				return usage{errors.New("missing --tenant")}
			}
			return inLog(c, &f, func(ctx context.Context, t inside) error {
				ev := operatorEvent("audit.archive")
				ev.Type, ev.Severity, ev.Resource, ev.Reason = audit.ConfigChanged, audit.High, "audit/archive", "archive_resumed"
				_, err := t.room.Act(ctx, ev, func(ctx context.Context) (audit.Outcome, map[string]any, error) {
					return "", nil, t.a.Store.Archive(t.room.Scope()).Resume(ctx)
				})
				if err == nil && f.json {
					return printJSON(c.OutOrStdout(), map[string]bool{"resumed": true})
				}
				if err == nil {
					_, err = fmt.Fprintln(c.OutOrStdout(), "resumed; what lies under the key stays beneath, as an older version")
				}
				return err
			})
		}}
	c.Flags().StringVar(&f.tenant, "tenant", "", "whose log; platform is the operator's own")
	return f.adminFlags.add(c)
}
