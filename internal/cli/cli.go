// Package cli is the command line: verbs, and errors that say the next step.
package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// version is set by the linker for releases.
var version = "0.1.0-dev"

// hinted is an error with the next step.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

func hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usage marks an error of the command line itself.
type usage struct{ error }

// Main runs one command and returns its exit code. Ctrl-C and SIGTERM end it
// in order; a second one ends it at once.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot(in, out, errw)
	root.SetArgs(args)
	var nobody error // --help hides that there is no such command
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if rest := c.Flags().Args(); c.HasSubCommands() && len(rest) > 0 {
			nobody = unknown(c, rest[0])
			return
		}
		help(c, args)
	})
	ran, err := root.ExecuteContextC(ctx)
	if err = cmp.Or(err, nobody); err == nil {
		return exitOK
	}
	var said exitCode
	if errors.As(err, &said) {
		return int(said)
	}
	fmt.Fprintln(errw, "openclaw: error:", words(err))
	var h *hinted
	var u usage
	switch {
	case errors.As(err, &h):
		fmt.Fprintln(errw, "openclaw: hint:", h.hint)
	case errors.As(err, &u), strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(errw, "openclaw: hint: `%s --help` shows what it takes\n", ran.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// words shows a fault's public words; its code and cause are for logs.
func words(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		s := f.Detail
		for _, field := range f.Fields {
			s += "; " + strings.TrimPrefix(field.Location, "body.") + ": " + field.Message
		}
		if f.Cause != nil && (f.Code == fault.Unavailable || f.Code == fault.Internal) {
			s += ": " + f.Cause.Error()
		}
		return s
	}
	return err.Error()
}

func newRoot(in io.Reader, out, errw io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "openclaw", Short: "Run AI agents for many tenants: bound each run, stop it in a second, prove both",
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Show how to use a command", RunE: func(_ *cobra.Command, args []string) error {
		c, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = unknown(c, rest[0])
		}
		if err != nil {
			return usage{err}
		}
		c.InitDefaultHelpFlag()
		return c.Help()
	}})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddCommand(devCommand(), serveCommand(), migrateCommand(), tenantCommand(), userCommand(), roleCommand(), blockCommand(), inspectCommand(), auditCommand(), configCommand(), versionCommand())
	return root
}

func unknown(c *cobra.Command, word string) error {
	return fmt.Errorf("unknown command %q for %q", word, c.CommandPath())
}

// exactly is cobra.ExactArgs with the names of what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage{fmt.Errorf("missing %s", names[len(args)])}
		}
		if len(args) > len(names) {
			return usage{fmt.Errorf("unexpected %q", args[len(names)])}
		}
		return nil
	}
}

func load() (app.Config, error) {
	environ, err := app.Environ()
	if err != nil {
		return app.Config{}, err
	}
	c, err := app.Load(environ)
	c.Version = version
	return c, hint(err, "`openclaw config` lists every variable and what it is for")
}

func logger(c app.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel))
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		commit := ""
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					commit = s.Value
				}
			}
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), map[string]string{"version": version, "commit": commit, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
		}
		fmt.Fprintf(c.OutOrStdout(), "openclaw %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func configCommand() *cobra.Command {
	var asJSON, example bool
	c := &cobra.Command{Use: "config", Short: "Print the effective configuration, secrets excluded, or say what is wrong with it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if example {
				_, err := io.WriteString(c.OutOrStdout(), app.Example())
				return err
			}
			environ, err := app.Environ()
			if err != nil {
				return err
			}
			cfg, err := app.Load(environ)
			if err != nil {
				return hint(err, "mend these and run `openclaw config` again; `openclaw config --example` shows a value for each")
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), cfg.Settings())
			}
			for _, s := range cfg.Settings() {
				mark := " "
				if !s.Default {
					mark = "*"
				}
				fmt.Fprintf(c.OutOrStdout(), "%s %-26s %-24s %s\n", mark, s.Name, s.Value, s.Doc)
			}
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&example, "example", false, "print .env.example instead")
	return c
}

func migrateCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "migrate", Short: "Bring the database's schema up to date, as its owner", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if cfg.OwnerURL == "" {
			return hint(errors.New("DATABASE_OWNER_URL is missing"), "set it to the owner's role, as in postgres://openclaw_owner@db/openclaw; the application's role cannot migrate")
		}
		m, err := app.Migrate(c.Context(), cfg)
		if err != nil {
			return hint(err, "the owner needs to own the database and, once, CREATEROLE; docs/OPERATIONS.md lists the statements")
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), map[string]int64{"from": m.From, "to": m.To})
		}
		if m.From == m.To {
			fmt.Fprintf(c.OutOrStdout(), "the schema is at version %d already\n", m.To)
		} else {
			fmt.Fprintf(c.OutOrStdout(), "migrated the schema from version %d to %d\n", m.From, m.To)
		}
		return nil
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
