package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// answerFlags say who answers for a decision on a log, and why.
type answerFlags struct {
	adminFlags
	tenant, owner, reason string
}

func (f *answerFlags) add(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.tenant, "tenant", "", "whose log; platform is everybody's")
	c.Flags().StringVar(&f.owner, "owner", "", "who answers for the decision")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the record")
	return f.adminFlags.add(c)
}

func (f *answerFlags) answered() error {
	if f.owner == "" || f.reason == "" {
		return usage{errors.New("missing --owner or --reason: a decision on a log is recorded with both")}
	}
	return nil
}

// decide runs do on the tenant that the flags name and prints what is then so.
func (f *answerFlags) decide(c *cobra.Command, do func(context.Context, *app.Admin, tenant.ID) (audit.Keeping, error)) error {
	if f.tenant == "" {
		return usage{errors.New("missing --tenant")}
	}
	return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
		id := tenant.House
		if f.tenant != a.House.Scope().Name() {
			room, err := a.Identity.Enter(ctx, f.tenant)
			if err != nil {
				return hint(err, "`openclaw tenant list` shows the names")
			}
			id = room.Scope().ID()
		}
		k, err := do(ctx, a, id)
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(c.OutOrStdout(), k)
		}
		printKeeping(c.OutOrStdout(), k)
		return nil
	})
}

func printKeeping(w io.Writer, k audit.Keeping) {
	r := k.Retention
	fmt.Fprintf(w, "kept for %d days (the platform's: %d)\n", r.Days, r.Platform)
	if r.Next > 0 {
		fmt.Fprintf(w, "from %s on for %d days: %s, %s\n", r.NextAt.Format(time.RFC3339), r.Next, r.Owner, r.Reason)
	}
	if k.Hold.Held {
		fmt.Fprintf(w, "legal hold since %s: %s, %s\n", k.Hold.At.Format(time.RFC3339), k.Hold.Owner, k.Hold.Reason)
	} else {
		fmt.Fprintln(w, "no legal hold")
	}
	for _, d := range k.Deletions {
		state := "gone"
		if !d.Done {
			state = "going"
		}
		fmt.Fprintf(w, "deletion %d: records %d to %d of %s are %s\n", d.Number, d.First, d.Last, d.Month, state)
	}
}

func auditRetention() *cobra.Command {
	var f answerFlags
	var days int
	c := &cobra.Command{Use: "retention", Short: "Show or decide for how long a log is kept; a lowering takes force after seven days", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		set := c.Flags().Changed("days")
		if set {
			if err := f.answered(); err != nil {
				return err
			}
		}
		return f.decide(c, func(ctx context.Context, a *app.Admin, id tenant.ID) (audit.Keeping, error) {
			if set {
				return a.Identity.SetRetention(ctx, a.Store, operatorEvent("platform.audit.keep"), id, days, f.owner, f.reason)
			}
			return a.Identity.Keeping(ctx, id)
		})
	}}
	c.Flags().IntVar(&days, "days", 0, "days to keep bodies; a tenant's at least the platform's")
	return f.add(c)
}

func auditHold() *cobra.Command {
	var f answerFlags
	var lift bool
	c := &cobra.Command{Use: "hold", Short: "Place a legal hold on a tenant's log, or lift it: nothing held is deleted", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if err := f.answered(); err != nil {
			return err
		}
		return f.decide(c, func(ctx context.Context, a *app.Admin, id tenant.ID) (audit.Keeping, error) {
			return a.Identity.SetHold(ctx, a.Store, operatorEvent("platform.audit.keep"), id, audit.Hold{Held: !lift, Owner: f.owner, Reason: f.reason})
		})
	}}
	c.Flags().BoolVar(&lift, "lift", false, "lift it")
	return f.add(c)
}
