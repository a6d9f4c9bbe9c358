package app

import (
	"context"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/anchor"
	"github.com/Nissimmiracles/openclaw/internal/evm"
)

// Wei is an amount of a chain's money, below 2^63.
type Wei uint64

func (w Wei) String() string {
	if w%1e9 == 0 && w != 0 {
		return strconv.FormatUint(uint64(w/1e9), 10) + "gwei"
	}
	return strconv.FormatUint(uint64(w), 10)
}

// parseWei reads a whole number of wei, or a decimal one of gwei or ether.
func parseWei(s string) (Wei, error) {
	digits, unit := s, 0
	for name, zeros := range map[string]int{"ether": 18, "gwei": 9} {
		if rest, ok := strings.CutSuffix(s, name); ok {
			digits, unit = rest, zeros
		}
	}
	if unit == 0 {
		digits = strings.TrimSuffix(s, "wei")
	}
	digits = strings.TrimSpace(digits)
	whole, fraction, _ := strings.Cut(digits, ".")
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", max(0, unit-len(fraction))), 10)
	if !ok || len(fraction) > unit || strings.ContainsAny(digits, "+-_") || whole == "" || !n.IsInt64() {
		return 0, fmt.Errorf("not an amount below 9 ether, such as 1000000gwei or 0.001ether")
	}
	return Wei(n.Uint64()), nil
}

func (c *Config) anchors() bool { return slices.Contains(c.AuditStorage, "blockchain") }

func (c *Config) checkChain() (errs []error) {
	say := func(name, format string, args ...any) { errs = append(errs, fmt.Errorf(name+": "+format, args...)) }
	if !c.anchors() {
		return nil
	}
	if c.ChainRPC == "" {
		say("AUDIT_CHAIN_RPC_URL", "AUDIT_LOG_STORAGE=blockchain needs a node; as in AUDIT_CHAIN_RPC_URL=https://node.example.com")
	} else if _, err := evm.NewClient(c.ChainRPC.Expose(), nil); err != nil {
		say("AUDIT_CHAIN_RPC_URL", "%v; as in AUDIT_CHAIN_RPC_URL=https://node.example.com", err)
	}
	if c.ChainID == 0 {
		say("AUDIT_CHAIN_ID", "missing; as in AUDIT_CHAIN_ID=1")
	}
	if c.ChainKeyFile == "" {
		say("AUDIT_CHAIN_KEY_FILE", "missing; make one with: (umask 077; openssl rand -hex 32 > chain.key)")
	}
	if c.ChainEvery < time.Minute {
		say("AUDIT_CHAIN_EVERY", "want 1m or more; as in AUDIT_CHAIN_EVERY=1h")
	}
	if c.ChainMaxFee < anchor.Gas {
		say("AUDIT_CHAIN_MAX_FEE", "%d wei pay for nothing; as in AUDIT_CHAIN_MAX_FEE=1000000gwei", uint64(c.ChainMaxFee))
	}
	if c.ChainMaxPerDay < c.ChainMaxFee {
		say("AUDIT_CHAIN_MAX_FEE_DAY", "below AUDIT_CHAIN_MAX_FEE; as in AUDIT_CHAIN_MAX_FEE_DAY=24000000gwei")
	}
	if c.ChainConfirmations < 1 || c.ChainConfirmations > 100_000 {
		say("AUDIT_CHAIN_CONFIRMATIONS", "want 1 to 100000; as in AUDIT_CHAIN_CONFIRMATIONS=12")
	}
	return errs
}

// startAnchors anchors the house log in a chain, if that is configured.
func (a *App) startAnchors() error {
	c := a.Config
	if !c.anchors() {
		return nil
	}
	key, err := evm.ReadKey(c.ChainKeyFile)
	if err != nil {
		return fmt.Errorf("AUDIT_CHAIN_KEY_FILE: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	client, err := evm.NewClient(c.ChainRPC.Expose(), transport)
	if err != nil {
		return fmt.Errorf("AUDIT_CHAIN_RPC_URL: %w", err)
	}
	act := func(ctx context.Context, ev audit.Event, do func(context.Context) (audit.Outcome, map[string]any, error)) error {
		_, err := a.House.Act(ctx, ev, do)
		return err
	}
	an := anchor.New(anchor.Config{
		ChainID: c.ChainID, Every: c.ChainEvery, MaxFee: uint64(c.ChainMaxFee), MaxPerDay: uint64(c.ChainMaxPerDay), Confirmations: uint64(c.ChainConfirmations),
	}, a.Store.Anchors(), evm.NewWallet(client, key), act, a.note, a.log, time.Now)
	a.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_anchor_problem", Help: "1 while something keeps the house log from being anchored, as this replica last found."},
			func() float64 {
				if an.Last().Problem != "" {
					return 1
				}
				return 0
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_anchor_day_wei", Help: "What the anchors of the last 24 hours cost, or may cost."},
			func() float64 { return float64(an.Last().Day) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_anchor_balance_wei", Help: "What the paying account has."},
			func() float64 { return float64(an.Last().Balance) }))
	an.Start()
	a.onClose(func() { an.Stop(); transport.CloseIdleConnections() })
	return nil
}
