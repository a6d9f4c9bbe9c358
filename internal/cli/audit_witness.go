package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit/witness"
)

func auditWitness() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "witness", Short: "Show how each witness of the house log last answered; exit 1 for an alarm", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			all, err := a.Store.House().Witnesses(ctx)
			if err != nil {
				return err
			}
			list := make([]witness.Status, 0, len(all))
			for _, name := range slices.Sorted(maps.Keys(all)) {
				list = append(list, all[name])
			}
			switch {
			case f.json:
				err = printJSON(c.OutOrStdout(), list)
			case len(list) == 0:
				fmt.Fprintln(c.OutOrStdout(), "no witness was asked yet; AUDIT_WITNESSES_FILE names the file that lists them")
			default:
				for _, s := range list {
					_, err = fmt.Fprintf(c.OutOrStdout(), "%-30s %-9s since %s, cosigned size %d  %s\n", s.Witness, s.State, s.Since.UTC().Format(time.RFC3339), s.Size, s.Detail)
				}
			}
			if err == nil && slices.ContainsFunc(list, func(s witness.Status) bool { return s.State.Alarm() }) {
				return exitCode(exitFailed)
			}
			return err
		})
	}}
	return f.add(c)
}
