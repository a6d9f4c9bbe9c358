package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/Nissimmiracles/openclaw/internal/app"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{Use: "serve", Short: "Run a replica on your PostgreSQL", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		log := logger(cfg, c.ErrOrStderr())
		a, err := app.Build(c.Context(), cfg, log)
		if err != nil {
			return hint(err, "`openclaw config` shows what runs; `openclaw dev` needs no configuration at all")
		}
		defer a.Close()
		return a.Serve(c.Context(), func(at app.Addresses) error {
			log.Info("serving", "api", at.API, "admin", at.Admin, "metrics", at.Metrics, "version", version)
			return nil
		})
	}}
}

// devReady is the one line of `openclaw dev --json`.
type devReady struct {
	URL          string           `json:"url"`
	CAFile       string           `json:"ca_file"`
	MetricsURL   string           `json:"metrics_url"`
	OperatorCert string           `json:"operator_cert_file"`
	DataDir      string           `json:"data_dir"`
	Tenants      []app.Account    `json:"tenants"`
	Platform     app.Account      `json:"platform"`
	Protections  []app.Protection `json:"protections"`
}

func devCommand() *cobra.Command {
	var (
		asJSON  bool
		data    string
		port    int
		metrics int
	)
	c := &cobra.Command{
		Use: "dev", Short: "Run everything on this machine: private database, keys, CA, two tenants",
		Long: "Run everything on this machine. The first start makes a private PostgreSQL, an RSA key, a CA, and the tenants acme and globex under the data folder; later starts go on with them.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			if data != "" {
				cfg.Data = data
			} else if cfg.Data == "" {
				cfg.Data = "data"
			}
			flags := c.Flags()
			if flags.Changed("port") {
				if cfg.Port = port; port < 0 || port > 65535 {
					return usage{fmt.Errorf("--port %d is no port", port)}
				}
			}
			// Platforms side by side must not fight for one metrics port.
			switch {
			case flags.Changed("metrics-port"):
				cfg.MetricsPort = metrics
			case flags.Changed("port") && os.Getenv("METRICS_PORT") == "":
				cfg.MetricsPort = 0
			}
			if cfg.Port == 0 {
				if cfg.Port, err = app.FreePort(); err != nil {
					return err
				}
			}
			// Before a database is made for it.
			l, err := net.Listen("tcp", net.JoinHostPort(cfg.Listen, strconv.Itoa(cfg.Port)))
			if err != nil {
				return hint(err, "another openclaw? choose another port, `--port 0` finds a free one")
			}
			_ = l.Close()
			return runDev(c.Context(), cfg, c.OutOrStdout(), c.ErrOrStderr(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON line when ready, logs go to standard error")
	c.Flags().StringVar(&data, "data", "", "folder for the database and keys (default DATA_DIR, then ./data)")
	c.Flags().IntVar(&port, "port", 3000, "API port; 0 picks a free one")
	c.Flags().IntVar(&metrics, "metrics-port", 9090, "metrics port on loopback; 0 picks a free one (default with --port)")
	return c
}

func runDev(ctx context.Context, cfg app.Config, out, errw io.Writer, asJSON bool) error {
	if cfg.LogLevel == "info" && !asJSON {
		cfg.LogLevel = "warn" // the banner says what a person needs
	}
	log := logger(cfg, errw)
	say := func(format string, args ...any) { fmt.Fprintf(errw, "openclaw: "+format+"\n", args...) }
	d, err := app.StartDev(ctx, cfg, log, say)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting
		}
		return hint(err, "`openclaw dev --data DIR` starts from nothing in another folder")
	}
	defer d.Stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	died := errors.New("the private PostgreSQL ended; its log is in " + filepath.Join(d.Config.Data, "postgres", "postgres.log"))
	go func() {
		select {
		case <-d.Done():
			cancel(died)
		case <-ctx.Done():
		}
	}()
	err = d.Serve(ctx, func(at app.Addresses) error {
		ps := d.Probe(ctx, at)
		if asJSON {
			line, err := json.Marshal(devReady{at.API, d.CAFile, at.Metrics, d.OperatorCert, d.Config.Data, d.Tenants, d.Operator, ps})
			if err != nil {
				return err
			}
			_, err = out.Write(append(line, '\n'))
			return err
		}
		return banner(out, d, at, ps)
	})
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, died) {
		err = hint(cause, "start again; committed data is safe")
	}
	return err
}

func banner(w io.Writer, d *app.Dev, at app.Addresses, ps []app.Protection) error {
	acme := d.Tenants[0]
	_, err := fmt.Fprintf(w, `
openclaw %s

  API       %s   (docs: %s/docs)
  metrics   %s
  data      %s
  CA        %s

One-time passwords, also in %s:
`, version, at.API, at.API, at.Metrics, d.Config.Data, d.CAFile, filepath.Join(d.Config.Data, "keys", "accounts.json"))
	if err != nil {
		return err
	}
	for _, t := range append(append([]app.Account{}, d.Tenants...), d.Operator) {
		fmt.Fprintf(w, "  %-9s %-26s %s\n", t.Name, t.Email, t.Password)
	}
	fmt.Fprint(w, "\nProtections, each tried against the running platform just now:\n")
	for _, p := range ps {
		mark := "holds"
		if !p.Holds {
			mark = "FAILS"
		}
		fmt.Fprintf(w, "  %s  %-26s %s\n", mark, p.Name, p.Evidence)
	}
	_, err = fmt.Fprintf(w, `
Paste these into another terminal:

  TOKEN=$(curl -s --cacert %[1]s %[2]s/v1/auth/login -H 'Content-Type: application/json' -d '{"tenant":"%[3]s","email":"%[4]s","password":"%[5]s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s --cacert %[1]s %[2]s/v1/memories -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"text":"The invoice of March was paid late."}'
  curl -s --cacert %[1]s "%[2]s/v1/audit/events?order=desc&limit=3" -H "Authorization: Bearer $TOKEN"

Ctrl-C stops everything.
`, d.CAFile, at.API, acme.Name, acme.Email, acme.Password)
	return err
}
