package quota_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/quota"
)

func TestBudgetsOfATier(t *testing.T) {
	t.Parallel()
	with := func(text string) (*quota.Table, error) {
		return quota.ParseTable([]byte(strings.Replace(defaults(t), "  standard:\n", "  standard:\n    budgets: "+text+"\n", 1)))
	}
	table, err := with("{tenant: {every: month, tokens: 500, money_micros: 0}, run: {every: life, sandbox_seconds: 60, egress_bytes: 7, requests: 3}}")
	if err != nil {
		t.Fatal(err)
	}
	tier, err := table.Tier("standard")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 30, 23, 59, 59, 0, time.FixedZone("", 3600)) // still the 30th in UTC
	c := tier.Budgets.Caps(at)
	if c.Tenant.Limit != (quota.Amounts{Requests: quota.NoLimit, Tokens: 500, SandboxSeconds: quota.NoLimit, EgressBytes: quota.NoLimit}) || c.Tenant.Period.String() != "2026-11" {
		t.Errorf("the tenant's: %+v", c.Tenant)
	}
	if c.Run.Limit != (quota.Amounts{Requests: 3, Tokens: quota.NoLimit, Money: quota.NoLimit, SandboxSeconds: 60, EgressBytes: 7}) || c.Run.Period.String() != "life" {
		t.Errorf("a run's: %+v", c.Run)
	}
	for _, none := range []quota.Cap{c.Agent, c.User} {
		if none.Limit != quota.UnlimitedAmounts() || none.Period == (quota.Period{}) {
			t.Errorf("a scope without a budget: %+v", none)
		}
	}
	if tier, _ := table.Tier("enhanced"); tier.Budgets != (quota.Budgets{}) {
		t.Errorf("a tier without budgets: %+v", tier.Budgets)
	}
	for _, bad := range []string{
		"{}", "unlimited", "{tenant: {every: month}}", "{tenant: {tokens: 5}}", "{tenant: {every: year, tokens: 5}}", "{tenant: {every: month, tokens: -1}}",
		"{tenant: {every: month, tokens: 1125899906842625}}", "{house: {every: month, tokens: 5}}", "{tenant: {every: month, coins: 5}}", "{tenant: {every: month, tokens: 5.5}}",
	} {
		_, err := with(bad)
		var line *quota.LineError
		if bad == "{}" {
			continue // says nothing, which is no budget
		}
		if !errors.As(err, &line) || line.Line == 0 {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
