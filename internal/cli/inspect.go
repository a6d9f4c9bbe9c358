package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// detector finds the one that a kind names, built as the platform builds it
// when nothing is switched off.
func detector(kind string) (inspect.Detector, error) {
	all, err := app.Detectors(app.Config{EnableSecurity: true, EnablePrompt: true, EnableSQL: true, EnableXSS: true})
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if string(d.Kind()) == kind {
			return d, nil
		}
	}
	return nil, usage{fmt.Errorf("--kind %q is none of prompt, sql, xss", kind)}
}

func inspectCommand() *cobra.Command {
	var (
		asJSON  bool
		kind    string
		trust   string
		workers int
	)
	c := &cobra.Command{
		Use: "inspect [TEXT]", Short: "Judge a text, or with --json a stream of them: prompt, SQL or XSS injection",
		Long: `Judge a text: the argument, or standard input.

With --json it is a filter: JSON lines {"id":…,"text":…,"trust":"user|document|tool"} in,
{"id":…,"confidence":…,"decision":…,"families":[…],"rules":[…]} out, in order, streaming.
A line that is no request is answered with {"id":…,"error":…} in its place.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := detector(kind)
			if err != nil {
				return err
			}
			if asJSON {
				if len(args) > 0 {
					return usage{errors.New("--json reads standard input; leave TEXT out")}
				}
				return inspect.Filter(c.Context(), c.InOrStdin(), c.OutOrStdout(), inspect.FilterOptions{Detector: d, Workers: workers})
			}
			from, ok := inspect.ParseTrust(trust)
			if !ok {
				return usage{fmt.Errorf("--trust %q is none of user, document, tool", trust)}
			}
			text, err := textOf(c, args)
			if err != nil {
				return err
			}
			v := d.Inspect(text, from)
			fmt.Fprintf(c.OutOrStdout(), "%s: %s, confidence %.3f\n", v.Kind, v.Decision, v.Confidence)
			for _, f := range v.Findings {
				fmt.Fprintf(c.OutOrStdout(), "  %+6.3f  %-40s %-28s bytes %d–%d\n", f.Share, f.Rule, f.Family, f.Start, f.End)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "filter JSON lines")
	c.Flags().StringVar(&kind, "kind", "prompt", "prompt, sql or xss")
	c.Flags().StringVar(&trust, "trust", "user", "where TEXT comes from: user, document or tool")
	c.Flags().IntVar(&workers, "workers", runtime.GOMAXPROCS(0), "cores to use with --json")
	c.AddCommand(appealCommand())
	return c
}

// maxArgument bounds a text that is read whole.
const maxArgument = 8 << 20

func textOf(c *cobra.Command, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxArgument+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(b) > maxArgument {
		return "", hint(fmt.Errorf("the text is longer than %d bytes", maxArgument), "cut it into lines for --json")
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

func appealCommand() *cobra.Command {
	var (
		kind, trust, label, dir string
		request, in             string
		consent                 bool
		f                       adminFlags
	)
	c := &cobra.Command{
		Use: "appeal [TEXT]", Short: "File a text that was judged wrongly as a new test case",
		Long: `File a text that was judged wrongly as a new test case: the argument, or standard input.

No log holds the text, so whoever wrote it hands it over again. With --tenant the
appeal itself goes on record in that tenant's log: the text's digest and who filed
it, never the text. With --request the case is one of a block: the tenant's own log
has to hold it under that request id, for just this text. A block of another tenant
is as one that never was.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := detector(kind)
			if err != nil {
				return err
			}
			from, ok := inspect.ParseTrust(trust)
			if !ok {
				return usage{fmt.Errorf("--trust %q is none of user, document, tool", trust)}
			}
			should, ok := map[string]int{"innocent": 0, "attack": 1}[label]
			if !ok {
				return usage{fmt.Errorf("--label %q is neither innocent nor attack", label)}
			}
			text, err := textOf(c, args)
			if err != nil {
				return err
			}
			if request != "" && in == "" {
				return usage{errors.New("--request needs --tenant: whose log holds the block")}
			}
			a := inspect.Appeal{Text: text, Kind: d.Kind(), Label: should, Owner: "unknown", Filed: time.Now().UTC().Truncate(time.Second), Consent: consent}
			if u, err := user.Current(); err == nil {
				a.Owner = u.Username
			}
			judge := func(from inspect.Trust) {
				v := d.Inspect(text, from)
				a.Trust, a.Was = from.String(), v.Confidence
				for _, f := range v.Findings {
					if !slices.Contains(a.Rules, f.Rule) {
						a.Rules = append(a.Rules, f.Rule)
					}
				}
			}
			var path string
			if in == "" {
				judge(from)
				path, err = inspect.FileAppeal(dir, a)
			} else if err = a.Check(); err == nil {
				err = inTenant(c, &f, in, func(ctx context.Context, _ *app.Admin, t inside) (err error) {
					if request != "" {
						said, err := blocked(ctx, t, d.Kind(), request, text)
						if err != nil {
							return err
						}
						if said != "" && !c.Flags().Changed("trust") {
							from, _ = inspect.ParseTrust(said)
						}
					}
					judge(from)
					path, err = appealed(ctx, t, request, dir, label, a)
					return err
				})
			}
			if errors.Is(err, inspect.ErrConsent) {
				return hint(err, "the text is kept as it is; say --consent when whoever wrote it agrees")
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "filed %s: confidence %.3f, should be %s\n", path, a.Was, label)
			return nil
		},
	}
	c.Flags().StringVar(&kind, "kind", "prompt", "prompt, sql or xss")
	c.Flags().StringVar(&trust, "trust", "user", "where TEXT comes from: user, document or tool")
	c.Flags().StringVar(&label, "label", "innocent", "what it should have been: innocent or attack")
	c.Flags().StringVar(&dir, "dir", "appeals", "folder of test cases")
	c.Flags().BoolVar(&consent, "consent", false, "whoever wrote the text agrees that it is kept")
	c.Flags().StringVar(&request, "request", "", "id of the request that was refused")
	c.Flags().StringVar(&in, "tenant", "", "tenant whose log holds the refusal and the appeal, by name or id")
	c.Flags().StringVar(&f.data, "data", "", "data `DIR` of a running openclaw dev, in place of DATABASE_URL")
	return c
}

// detections are the events of each kind.
var detections = map[inspect.Kind]audit.Type{inspect.Prompt: audit.PromptInjectionDetected, inspect.SQL: audit.SQLInjectionDetected, inspect.XSS: audit.XSSDetected}

// appealed files a case and puts that on record in the tenant's log: a text leaves
// it for a folder of the operator's.
func appealed(ctx context.Context, t inside, request, dir, label string, a inspect.Appeal) (path string, err error) {
	ev := operatorEvent(policy.InspectRun.String())
	ev.Type, ev.Reason, ev.Resource, ev.RequestID = detections[a.Kind], "appealed", "appeal/"+strings.TrimPrefix(a.Name(), "appeal-"), request
	sum := sha256.Sum256([]byte(a.Text))
	ev.Details = map[string]any{"kind": string(a.Kind), "digest": hex.EncodeToString(sum[:]), "score": int64(a.Was*1000 + 0.5), "label": label}
	if a.Kind == inspect.Prompt {
		ev.Details["trust"] = a.Trust
	}
	var failed error
	_, err = t.room.Act(ctx, ev, func(context.Context) (audit.Outcome, map[string]any, error) {
		if path, failed = inspect.FileAppeal(dir, a); failed != nil {
			return audit.Failed, nil, failed
		}
		return audit.Success, nil, nil
	})
	return path, cmp.Or(failed, err)
}

// blocked finds the block of a text in the tenant's log, and the trust it was
// judged by; empty for other kinds than prompt.
func blocked(ctx context.Context, t inside, kind inspect.Kind, request, text string) (trust string, err error) {
	// clients choose their ids, and may have said one often
	sum := sha256.Sum256([]byte(text))
	q := audit.Query{Types: []audit.Type{detections[kind]}, Outcome: audit.Refused, RequestID: request, Limit: 500}
	for more := true; more; {
		var events []audit.Entry
		if events, more, err = t.room.Log().Events(ctx, q); err != nil {
			return "", err
		}
		for _, ev := range events {
			var d struct{ Digest, Trust string }
			if q.After = ev.Seq; json.Unmarshal(ev.Details, &d) == nil && d.Digest == hex.EncodeToString(sum[:]) {
				return d.Trust, nil
			}
		}
		more = more && len(events) > 0
	}
	return "", hint(fmt.Errorf("the log of %s holds no %s block of this text under that request", t.room.Scope().Name(), kind), "the text has to be the one that was refused, byte for byte")
}
