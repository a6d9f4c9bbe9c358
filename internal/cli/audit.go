package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/verify"
)

// exitCode is an error whose words are out already.
type exitCode int

func (e exitCode) Error() string { return "exit " + strconv.Itoa(int(e)) }

func auditCommand() *cobra.Command {
	return group("audit", "Prove, export and verify the audit log", auditBundle(), auditExport(), auditCheckpoint(), auditVerify(), auditSettings(), auditRetention(), auditHold(), auditSinks(), auditArchive(), auditWitness(), auditAnchor())
}

type auditFlags struct {
	adminFlags
	tenant, out string
}

func (f *auditFlags) add(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.tenant, "tenant", "", "whose log; platform is the operator's own")
	c.Flags().StringVarP(&f.out, "out", "o", "", "file to write; it appears when it is whole")
	return f.adminFlags.add(c)
}

// inLog enters the tenant with the audit log's key, if it is at hand.
func inLog(c *cobra.Command, f *auditFlags, do func(context.Context, inside) error) error {
	if f.tenant == "" {
		return usage{errors.New("missing --tenant")}
	}
	open := func(ctx context.Context, cfg app.Config) (*app.Admin, error) {
		if cfg.AuditKeyFile == "" {
			if path := app.AuditKeyFile(dataFolder(cfg, f.data)); readable(path) {
				cfg.AuditKeyFile = path
			}
		}
		return app.OpenAudit(ctx, cfg, logger(cfg, c.ErrOrStderr()))
	}
	return adminWith(c, f.data, open, func(ctx context.Context, a *app.Admin) error {
		if f.tenant == a.House.Scope().Name() {
			return do(ctx, inside{a, a.House})
		}
		room, err := a.Identity.Enter(ctx, f.tenant)
		if err != nil {
			return hint(err, "`openclaw tenant list` shows the names")
		}
		return do(ctx, inside{a, room})
	})
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// leaves lets a tenant's data out between an intent and an outcome in its own log.
func (t inside) leaves(ctx context.Context, action string, what map[string]any, write func() (int64, error)) (size int64, err error) {
	ev := operatorEvent(action)
	ev.Type, ev.Severity, ev.Resource, ev.Details = audit.DataExported, audit.Warning, "audit", what
	_, err = t.room.Act(ctx, ev, func(context.Context) (audit.Outcome, map[string]any, error) {
		var err error
		size, err = write()
		return "", map[string]any{"bytes": size}, err
	})
	return size, err
}

func auditBundle() *cobra.Command {
	var f auditFlags
	var from, to, since string
	c := &cobra.Command{Use: "bundle", Short: "Write a range of a tenant's log and all that proves it offline to one file", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var r audit.Range
		var err error
		if r.From, r.FromTime, err = numberOrTime("--from", from); err != nil {
			return err
		}
		if r.To, r.ToTime, err = numberOrTime("--to", to); err != nil {
			return err
		}
		if since != "" {
			if r.Since, err = keptSize(since); err != nil {
				return err
			}
		}
		if f.out == "" {
			return usage{errors.New("missing -o FILE")}
		}
		return inLog(c, &f, func(ctx context.Context, t inside) error {
			what := map[string]any{"what": "audit proof bundle", "from": from, "to": to}
			n, err := t.leaves(ctx, "audit.export", what, func() (int64, error) {
				return whole(f.out, func(w io.Writer) error { return t.room.Log().Bundle(ctx, w, r) })
			})
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"file": f.out, "bytes": n})
			}
			fmt.Fprintf(c.OutOrStdout(), "wrote %s, %d bytes\n", f.out, n)
			return nil
		})
	}}
	c.Flags().StringVar(&from, "from", "", "first record's number, or a time (RFC 3339)")
	c.Flags().StringVar(&to, "to", "", "last record's number, or a time (RFC 3339, exclusive)")
	c.Flags().StringVar(&since, "since", "", "file with a checkpoint that you kept; the bundle proves that the log only grew")
	return f.add(c)
}

func auditExport() *cobra.Command {
	var f auditFlags
	var q audit.Query
	var from, to, format, outcome string
	var types, severities []string
	var checked bool
	c := &cobra.Command{Use: "export", Short: "Write a tenant's log as JSON lines, CSV or OCSF", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var err error
		if _, q.From, err = numberOrTime("--from", from); err != nil {
			return err
		}
		if _, q.To, err = numberOrTime("--to", to); err != nil {
			return err
		}
		for _, t := range types {
			if !audit.Type(t).Known() {
				return hint(fmt.Errorf("there is no event type %q", t), "as in LOGIN_FAILED")
			}
			q.Types = append(q.Types, audit.Type(t))
		}
		for _, s := range severities {
			if !slices.Contains([]audit.Severity{audit.Info, audit.Warning, audit.High, audit.Critical}, audit.Severity(s)) {
				return usage{fmt.Errorf("there is no severity %q; one of INFO, WARNING, HIGH, CRITICAL", s)}
			}
			q.Severity = append(q.Severity, audit.Severity(s))
		}
		if !slices.Contains([]audit.Outcome{"", audit.Success, audit.Refused, audit.Failed, audit.Intent, audit.Unknown}, audit.Outcome(outcome)) {
			return usage{fmt.Errorf("there is no outcome %q; one of success, refused, failed, intent, unknown", outcome)}
		}
		q.Outcome, q.Unchecked = audit.Outcome(outcome), !checked
		if q.After < 0 {
			return usage{fmt.Errorf("--after: %d is no number of a record", q.After)}
		}
		if format != "jsonl" && format != "csv" && format != "ocsf" {
			return usage{fmt.Errorf("there is no format %q; one of jsonl, csv, ocsf", format)}
		}
		if f.out == "" {
			return usage{errors.New("missing -o FILE")}
		}
		return inLog(c, &f, func(ctx context.Context, t inside) error {
			var n, last int64
			what := map[string]any{"what": "audit log", "format": format, "after": q.After, "from": from, "to": to, "types": types, "severities": severities,
				"actor": q.Actor, "resource": q.Resource, "outcome": outcome, "request_id": q.RequestID, "checked": checked}
			size, err := t.leaves(ctx, "audit.export", what, func() (int64, error) {
				newest, _, err := t.room.Log().Events(ctx, audit.Query{Newest: true, Limit: 1})
				if err != nil {
					return 0, err
				}
				bar := newProgress(c.ErrOrStderr(), format == "csv", q.After == 0, newest[0].Seq-q.After)
				defer bar.end()
				return whole(f.out, func(w io.Writer) (err error) {
					n, last, err = t.room.Log().Export(ctx, io.MultiWriter(w, bar), audit.Format(format), q)
					return err
				})
			})
			if err != nil {
				return hint(err, "nothing was written; run it again")
			}
			if f.json {
				return printJSON(c.OutOrStdout(), map[string]any{"file": f.out, "bytes": size, "events": n, "last": last})
			}
			fmt.Fprintf(c.OutOrStdout(), "wrote %d events to %s, %d bytes; the last is number %d\n", n, f.out, size, last)
			return nil
		})
	}}
	fs := c.Flags()
	fs.StringVar(&format, "format", "jsonl", "jsonl, csv or ocsf")
	fs.StringVar(&from, "from", "", "time (RFC 3339)")
	fs.StringVar(&to, "to", "", "time (RFC 3339, exclusive)")
	fs.StringSliceVar(&types, "type", nil, "event types")
	fs.StringSliceVar(&severities, "severity", nil, "severities")
	fs.StringVar(&q.Actor, "actor", "", "actor's id")
	fs.StringVar(&q.Resource, "resource", "", "resource, as in agent/ID")
	fs.StringVar(&outcome, "outcome", "", "outcome")
	fs.StringVar(&q.RequestID, "request-id", "", "request id")
	fs.Int64Var(&q.After, "after", 0, "resume after this number")
	fs.BoolVar(&checked, "checked", true, "read every record and hold it against the signed tree; false goes by the indices for filters")
	return f.add(c)
}

func auditCheckpoint() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{Use: "checkpoint", Short: "Print a log's signed checkpoint and the keys to verify it with; keep both", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return inLog(c, &f, func(ctx context.Context, t inside) error {
			p, err := t.room.Log().Checkpoint(ctx)
			if err != nil {
				return err
			}
			if f.out != "" {
				files := [][2]string{{"", p.Checkpoint}, {".house", p.HouseCheckpoint}}
				if p.Key != "" {
					files = append(files, [2]string{".vkey", p.Key + "\n"}, [2]string{".house.vkey", p.HouseKey + "\n"})
				}
				for _, file := range files {
					if _, err := whole(f.out+file[0], func(w io.Writer) error { _, err := io.WriteString(w, file[1]); return err }); err != nil {
						return err
					}
				}
			}
			if f.json {
				return printJSON(c.OutOrStdout(), p)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\nkey       %s\nhouse key %s\n", p.Checkpoint, p.Key, p.HouseKey)
			return nil
		})
	}}
	return f.add(c)
}

func auditSettings() *cobra.Command {
	var f adminFlags
	var name string
	var durable bool
	c := &cobra.Command{Use: "settings", Short: "Show or change how a tenant's log is kept", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return inTenant(c, &f, name, func(ctx context.Context, a *app.Admin, t inside) error {
			set, err := t.room.AuditSettings(ctx)
			if err != nil {
				return err
			}
			if c.Flags().Changed("durable-reads") {
				set.DurableReads = durable
				ev := operatorEvent("settings.update")
				ev.Type, ev.Severity, ev.Resource = audit.ConfigChanged, audit.Warning, "audit"
				if _, err := t.room.Change(ctx, ev, func(tx plane.Tx) error { return a.Store.SetAuditSettings(ctx, tx, set) }); err != nil {
					return err
				}
			}
			if f.json {
				return printJSON(c.OutOrStdout(), set)
			}
			fmt.Fprintf(c.OutOrStdout(), "durable reads: %t\n", set.DurableReads)
			return nil
		})
	}}
	c.Flags().StringVar(&name, "tenant", "", "whose log")
	c.Flags().BoolVar(&durable, "durable-reads", false, "record plain reads before their answer, not within 100 ms after it")
	return f.add(c)
}

// auditVerify is openclaw-verify: the same code, which needs no platform.
func auditVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check a bundle or an export offline; says what it did not check", DisableFlagParsing: true,
		Long: "Check a bundle or an export offline, exactly as openclaw-verify does.\n\n  openclaw audit verify --key KEY [--since NOTE] [--house-key KEY] [--checkpoint NOTE] [--witness KEY]... [--quorum N] [--json] FILE",
		RunE: func(c *cobra.Command, args []string) error {
			if code := verify.Main(c.CommandPath(), args, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

// numberOrTime reads a record's number or a time.
func numberOrTime(flag, s string) (int64, time.Time, error) {
	if s == "" {
		return 0, time.Time{}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		return n, time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return 0, t, nil
		}
	}
	return 0, time.Time{}, usage{fmt.Errorf("%s: want a number or a time, as in 2026-11-22T08:00:00Z", flag)}
}

// keptSize reads the size from a kept checkpoint, unverified: the verifier
// holds it against the log.
func keptSize(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	lines := strings.SplitN(string(text), "\n", 3)
	if len(lines) == 3 {
		if n, err := strconv.ParseInt(lines[1], 10, 64); err == nil && n > 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is no checkpoint", path)
}

// whole writes a file that appears only when it is complete. What is there and is
// no file stays: root would put one in the place of /dev/stdout.
func whole(path string, write func(io.Writer) error) (size int64, err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is there and is no regular file", path)
	}
	temporary := "." + filepath.Base(path) + "-"
	defer func() { // people know the file by its own name
		var p *os.PathError
		var l *os.LinkError
		if errors.As(err, &p) && strings.HasPrefix(filepath.Base(p.Path), temporary) {
			p.Path = path
		} else if errors.As(err, &l) {
			err = fmt.Errorf("write %s: %w", path, l.Err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), temporary)
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return 0, err
	}
	if err = f.Sync(); err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}
