package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

func auditSinks() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "sinks", Short: "List where audit logs are sent: state, what waits, the last error", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			list, err := a.Sinks(ctx)
			if err != nil {
				return hint(err, "running replicas go on with the last file that was good")
			}
			if f.json {
				if list == nil {
					list = []app.Sink{}
				}
				return printJSON(c.OutOrStdout(), list)
			}
			if len(list) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "no sinks; AUDIT_SINKS_FILE names the file that lists them")
				return nil
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SINK\tSTATE\tSINCE\tDELIVERED\tBEHIND\tOLDEST\tSET ASIDE\tTO")
			now := time.Now()
			for _, s := range list {
				state, to := string(s.State), s.To
				switch {
				case !s.Configured && a.Config.AuditSinks != "":
					to = "(not in AUDIT_SINKS_FILE)"
				case !s.Held:
					state += " (no replica)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%d\t%s\n", s.Sink, state, ago(now, s.Since), s.Delivered, s.Behind, ago(now, s.Oldest), s.SetAside, to)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			for _, s := range list {
				if s.Error != "" {
					fmt.Fprintf(c.OutOrStdout(), "%s: last error, %s: %s\n", s.Sink, ago(now, s.ErrorAt), s.Error)
				}
			}
			return nil
		})
	}}
	return f.add(c)
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(now.Sub(t).Round(time.Second), 0).String() + " ago"
}
