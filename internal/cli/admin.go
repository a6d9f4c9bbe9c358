package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/identity"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// The verbs here work on the database, beside running replicas, which hear of
// every change at its commit. Whoever can run them holds the application's
// database role; every act is in the log under the name of the person at the
// machine.

// admin opens the platform's stores without serving.
func admin(c *cobra.Command, data string, do func(context.Context, *app.Admin) error) error {
	return adminWith(c, data, func(ctx context.Context, cfg app.Config) (*app.Admin, error) {
		return app.OpenAdmin(ctx, cfg, logger(cfg, c.ErrOrStderr()))
	}, do)
}

func adminWith(c *cobra.Command, data string, open func(context.Context, app.Config) (*app.Admin, error), do func(context.Context, *app.Admin) error) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	if cfg.DatabaseURL == "" {
		data := dataFolder(cfg, data)
		url, err := os.ReadFile(app.DatabaseFile(data))
		if err != nil {
			return hint(errors.New("DATABASE_URL is missing"), "set it, or name the data folder of a running `openclaw dev` with --data DIR (looked in %s)", filepath.Clean(data))
		}
		cfg.DatabaseURL = app.Secret(url)
	}
	a, err := open(c.Context(), cfg)
	if err != nil {
		return hint(err, "is the database up? a data folder's database runs only while its `openclaw dev` does")
	}
	defer a.Close()
	return do(c.Context(), a)
}

// dataFolder is the flag's, DATA_DIR's or dev's own.
func dataFolder(cfg app.Config, flag string) string {
	return cmp.Or(flag, cfg.Data, "data")
}

func operatorEvent(action string) audit.Event {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return audit.Event{Outcome: audit.Success, Action: action, Actor: audit.Actor{Kind: audit.ActorOperator, ID: "cli", Name: name}}
}

var platform = identity.Granter{Platform: true}

type adminFlags struct {
	data string
	json bool
}

func (f *adminFlags) add(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.data, "data", "", "data `DIR` of a running openclaw dev, in place of DATABASE_URL")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return c
}

func group(use, short string, cs ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage{fmt.Errorf("unknown command %q for %q", args[0], "openclaw "+use)}
		}
		return nil
	}, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	g.AddCommand(cs...)
	return g
}

func tenantCommand() *cobra.Command {
	return group("tenant", "Create, list, suspend and resume tenants", tenantCreate(), tenantList(),
		tenantStatus("suspend", "Let nobody of a tenant in; nothing is lost", tenant.Suspended),
		tenantStatus("resume", "Let a suspended tenant in again", tenant.Active))
}

type tenantLine struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
	Tier   string `json:"tier"`
}

func lineOf(r tenant.Record) tenantLine {
	return tenantLine{r.ID.String(), r.Name, string(r.Status), r.Tier}
}

func tenantCreate() *cobra.Command {
	var f adminFlags
	var tier, email string
	c := &cobra.Command{Use: "create NAME", Short: "Create a tenant, with --admin its first administrator", Args: exactly("NAME"), RunE: func(c *cobra.Command, args []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			if tier == "" {
				tier = a.Config.Tier
			}
			if _, err := a.Tiers.Table().Tier(tier); err != nil {
				return hint(fmt.Errorf("there is no tier %q", tier), "one of %s", strings.Join(a.Tiers.Table().Tiers(), ", "))
			}
			rec, err := a.Identity.CreateTenant(ctx, a.Store, operatorEvent("platform.tenants.create"), args[0], tier)
			if err != nil {
				return err
			}
			out := struct {
				tenantLine
				Admin    string `json:"admin,omitempty"`
				Password string `json:"one_time_password,omitempty"`
			}{tenantLine: lineOf(rec)}
			if email != "" {
				room, err := a.Identity.Enter(ctx, rec.Name)
				if err != nil {
					return err
				}
				out.Admin, out.Password = email, password.OneTime()
				if _, err := a.Identity.CreateUser(ctx, room, platform, operatorEvent("users.create"), identity.NewUser{Email: email, Password: out.Password, OneTime: true, Roles: []string{"tenant_admin"}}); err != nil {
					return hint(err, "the tenant exists; add its administrator with: openclaw user create --tenant %s EMAIL --role tenant_admin", rec.Name)
				}
			}
			if f.json {
				return printJSON(c.OutOrStdout(), out)
			}
			fmt.Fprintf(c.OutOrStdout(), "created tenant %s (%s), tier %s\n", rec.Name, rec.ID, rec.Tier)
			if email != "" {
				fmt.Fprintf(c.OutOrStdout(), "administrator %s, one-time password %s\n", out.Admin, out.Password)
			}
			return nil
		})
	}}
	c.Flags().StringVar(&tier, "tier", "", "tier of limits (default RATE_LIMIT_TIER)")
	c.Flags().StringVar(&email, "admin", "", "e-mail address of the first tenant_admin")
	return f.add(c)
}

func tenantList() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "list", Short: "List tenants", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			lines := []tenantLine{}
			for after := ""; ; {
				page, err := a.Store.Tenants(ctx, after, 500)
				if err != nil {
					return err
				}
				for _, r := range page {
					lines = append(lines, lineOf(r))
					after = r.Name
				}
				if len(page) < 500 {
					break
				}
			}
			if f.json {
				return printJSON(c.OutOrStdout(), lines)
			}
			for _, l := range lines {
				fmt.Fprintf(c.OutOrStdout(), "%s  %-10s %-10s %s\n", l.ID, l.Status, l.Tier, l.Name)
			}
			return nil
		})
	}}
	return f.add(c)
}

func tenantStatus(verb, short string, status tenant.Status) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: verb + " TENANT", Short: short, Args: exactly("TENANT"), RunE: func(c *cobra.Command, args []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			room, err := a.Identity.Enter(ctx, args[0])
			if err != nil {
				return hint(err, "`openclaw tenant list` shows the names")
			}
			rec, err := a.Identity.SetTenant(ctx, a.Store, operatorEvent("platform.tenants."+verb), room.Scope().ID(), status, "")
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), lineOf(rec))
			}
			fmt.Fprintf(c.OutOrStdout(), "tenant %s is %s\n", rec.Name, rec.Status)
			return nil
		})
	}}
	return f.add(c)
}

func userCommand() *cobra.Command {
	return group("user", "Create users and reset passwords", userCreate(), userReset())
}

func userCreate() *cobra.Command {
	var f adminFlags
	var in string
	var roles []string
	c := &cobra.Command{Use: "create EMAIL", Short: "Create a user with a one-time password", Args: exactly("EMAIL"), RunE: func(c *cobra.Command, args []string) error {
		return inTenant(c, &f, in, func(ctx context.Context, a *app.Admin, t inside) error {
			n := identity.NewUser{Email: args[0], Password: password.OneTime(), OneTime: true, Roles: roles}
			u, err := a.Identity.CreateUser(ctx, t.room, platform, operatorEvent("users.create"), n)
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"id": u.ID, "email": u.Email, "roles": u.Roles, "one_time_password": n.Password})
			}
			fmt.Fprintf(c.OutOrStdout(), "created %s in %s, one-time password %s\n", u.Email, t.room.Scope().Name(), n.Password)
			return nil
		})
	}}
	c.Flags().StringVar(&in, "tenant", "", "tenant, by name or id")
	c.Flags().StringSliceVar(&roles, "role", nil, "roles to grant: "+strings.Join(identity.Grantable(), ", "))
	return f.add(c)
}

func userReset() *cobra.Command {
	var f adminFlags
	var in string
	c := &cobra.Command{Use: "reset-password EMAIL", Short: "Give a user a one-time password and end every session", Args: exactly("EMAIL"), RunE: func(c *cobra.Command, args []string) error {
		return inTenant(c, &f, in, func(ctx context.Context, a *app.Admin, t inside) error {
			u, err := t.user(ctx, args[0])
			if err != nil {
				return err
			}
			p := password.OneTime()
			if err := a.Identity.ResetPassword(ctx, t.room, platform, operatorEvent("users.update"), u.ID, p); err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"id": u.ID, "email": u.Email, "one_time_password": p})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: one-time password %s; every session has ended\n", u.Email, p)
			return nil
		})
	}}
	c.Flags().StringVar(&in, "tenant", "", "tenant, by name or id")
	return f.add(c)
}

func roleCommand() *cobra.Command {
	return group("role", "Grant and revoke roles", roleChange("grant", "Give a user a role"), roleChange("revoke", "Take a role from a user"))
}

func roleChange(verb, short string) *cobra.Command {
	var f adminFlags
	var in string
	c := &cobra.Command{Use: verb + " EMAIL ROLE", Short: short, Args: exactly("EMAIL", "ROLE"), ValidArgs: identity.Grantable(), RunE: func(c *cobra.Command, args []string) error {
		return inTenant(c, &f, in, func(ctx context.Context, a *app.Admin, t inside) error {
			u, err := t.user(ctx, args[0])
			if err != nil {
				return err
			}
			if verb == "grant" {
				err = a.Identity.Grant(ctx, t.room, platform, operatorEvent("roles.grant"), u.ID, args[1])
			} else {
				err = a.Identity.RevokeRole(ctx, t.room, platform, operatorEvent("roles.revoke"), u.ID, args[1])
			}
			if err != nil {
				return err
			}
			if u, err = a.Store.User(ctx, t.room.Scope(), u.ID); err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"id": u.ID, "email": u.Email, "roles": u.Roles})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s now holds: %s\n", u.Email, strings.Join(u.Roles, ", "))
			return nil
		})
	}}
	c.Flags().StringVar(&in, "tenant", "", "tenant, by name or id")
	return f.add(c)
}

func blockCommand() *cobra.Command {
	return group("block", "List, add and lift blocked addresses", blockList(), blockAdd(), blockLift())
}

func blockList() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "list", Short: "List blocked addresses", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			bs, err := a.Store.Blocks().List(ctx, time.Now())
			if err != nil {
				return err
			}
			if f.json {
				if bs == nil {
					_, err := fmt.Fprintln(c.OutOrStdout(), "[]")
					return err
				}
				return printJSON(c.OutOrStdout(), bs)
			}
			if len(bs) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "openclaw: nothing is blocked")
			}
			for _, b := range bs {
				fmt.Fprintf(c.OutOrStdout(), "%-20s until %s  %-20s %s\n", b.Prefix, b.Until.UTC().Format(time.RFC3339), b.Owner, b.Reason)
			}
			return nil
		})
	}}
	return f.add(c)
}

func blockAdd() *cobra.Command {
	var f adminFlags
	var length time.Duration
	var reason string
	c := &cobra.Command{Use: "add PREFIX", Short: "Block an address or network on every replica", Args: exactly("PREFIX"), RunE: func(c *cobra.Command, args []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			p, err := prefix(args[0])
			if err != nil {
				return err
			}
			b, err := a.Block(ctx, operatorEvent("platform.blocks.manage"), p, length, reason)
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), b)
			}
			fmt.Fprintf(c.OutOrStdout(), "blocked %s until %s\n", b.Prefix, b.Until.UTC().Format(time.RFC3339))
			return nil
		})
	}}
	c.Flags().DurationVar(&length, "for", time.Hour, "how long")
	c.Flags().StringVar(&reason, "reason", "by an operator", "why, for the list and the log")
	return f.add(c)
}

func blockLift() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{Use: "lift PREFIX", Short: "Lift a block on every replica", Args: exactly("PREFIX"), RunE: func(c *cobra.Command, args []string) error {
		return admin(c, f.data, func(ctx context.Context, a *app.Admin) error {
			p, err := prefix(args[0])
			if err != nil {
				return err
			}
			if err := a.Lift(ctx, operatorEvent("platform.blocks.manage"), p); err != nil {
				return hint(err, "`openclaw block list` shows what is blocked, by the exact prefix")
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]string{"lifted": p.String()})
			}
			fmt.Fprintf(c.OutOrStdout(), "lifted %s\n", p)
			return nil
		})
	}}
	return f.add(c)
}

func prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, hint(fmt.Errorf("%q is no address or network", s), "as in 203.0.113.7 or 203.0.113.0/24")
	}
	return p.Masked(), nil
}
