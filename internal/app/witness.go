package app

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/witness"
)

// startWitnesses has the house log cosigned, if witnesses are configured.
func (a *App) startWitnesses() error {
	if a.Config.AuditWitnesses == "" {
		return nil
	}
	text, err := os.ReadFile(a.Config.AuditWitnesses)
	if err != nil {
		return fmt.Errorf("AUDIT_WITNESSES_FILE: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 10 * time.Second
	policy, err := witness.ParsePolicy(string(text), transport)
	if err != nil {
		return fmt.Errorf("AUDIT_WITNESSES_FILE: %w", err)
	}
	c := witness.NewCosigner(a.Store.House(), policy, a.Config.AuditWitnessEvery, a.witnessTurned, a.log)
	a.Store.CosignWith(c.Wake, policy.Quorum)
	a.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_witnesses_cosigning", Help: "Witnesses that cosigned when this replica last asked them."},
			func() float64 {
				return float64(count(c.Last(), func(s witness.State) bool { return s == witness.Cosigning }))
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openclaw_audit_witness_alarms", Help: "Witnesses that hold another history of the house log than this database: it was rolled back or forked."},
			func() float64 { return float64(count(c.Last(), witness.State.Alarm)) }))
	c.Start()
	a.onClose(func() { c.Stop(); transport.CloseIdleConnections() })
	return nil
}

func count(list []witness.Status, is func(witness.State) bool) (n int) {
	for _, s := range list {
		if is(s.State) {
			n++
		}
	}
	return n
}

// witnessTurned records in the house that a witness answers otherwise than before.
func (a *App) witnessTurned(s witness.Status) {
	ev := audit.Event{Type: audit.SecurityError, Severity: audit.Warning, Outcome: audit.Failed, Reason: "witness_" + string(s.State),
		Resource: "witness/" + s.Witness, Actor: audit.Actor{Kind: audit.ActorSystem}, Details: map[string]any{"size": s.Size}}
	switch {
	case s.State.Alarm():
		ev.Severity = audit.Critical
		a.log.Error("a witness holds another history of the house log", "witness", s.Witness, "state", string(s.State), "detail", s.Detail)
	case s.State == witness.Cosigning:
		ev.Severity, ev.Outcome = audit.Info, audit.Success
	}
	a.note(ev)
}
