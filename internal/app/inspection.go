package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/api"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
	"github.com/Nissimmiracles/openclaw/internal/inspect/waf"
	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// Detectors builds every detector that the configuration leaves on.
func Detectors(c Config) (out []inspect.Detector, err error) {
	if !c.EnableSecurity {
		return nil, nil
	}
	if c.EnablePrompt {
		d, err := prompt.New()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	fields := inject.New()
	if c.EnableSQL {
		out = append(out, fields.SQL())
	}
	if c.EnableXSS {
		out = append(out, fields.XSS())
	}
	return out, nil
}

// inspection is the stage over the detectors and the firewall; nil without
// ENABLE_SECURITY. The stage also knows how a tenant wants its answers.
func inspection(c Config, detectors []inspect.Detector, firewall *waf.WAF) *gateway.Inspection {
	if !c.EnableSecurity {
		return nil
	}
	in := &gateway.Inspection{WAF: firewall, SQL: c.EnableSQL, XSS: c.EnableXSS, Settings: (&settingsCache{}).of}
	if c.EnableSQL || c.EnableXSS {
		in.Fields = inject.New()
	}
	for _, d := range detectors {
		if d.Kind() == inspect.Prompt {
			in.Prompt = d
		}
	}
	return in
}

// coreRules stands in WAF_RULES for the Core Rule Set and no file.
const coreRules = "core"

// firewall loads and checks the rules of WAF_RULES; nil without.
func firewall(c Config) (*waf.WAF, error) {
	if !c.EnableSecurity || len(c.WAFRules) == 0 {
		return nil, nil
	}
	var files []string
	for _, f := range c.WAFRules {
		if f != coreRules {
			files = append(files, f)
		}
	}
	w, err := waf.New(waf.Options{RulesFiles: files})
	if err != nil {
		return nil, fmt.Errorf("WAF_RULES: %w", err)
	}
	return w, nil
}

// settingsTime is how old a tenant's settings may be.
const settingsTime = 500 * time.Millisecond

type settingsCache struct{ byTenant sync.Map } // tenant.ID to kept

type kept struct {
	settings inspect.Settings
	until    time.Time
}

func (k *settingsCache) of(ctx context.Context, room plane.Room) (inspect.Settings, error) {
	id := room.Scope().ID()
	if v, ok := k.byTenant.Load(id); ok && time.Now().Before(v.(kept).until) {
		return v.(kept).settings, nil
	}
	s, _, err := api.Inspection(ctx, room)
	if err == nil {
		k.byTenant.Store(id, kept{s, time.Now().Add(settingsTime)})
	}
	return s, err
}
