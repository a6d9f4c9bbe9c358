package app

import (
	"context"
	"sync"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/api"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/inspect"
	"github.com/Nissimmiracles/openclaw/internal/inspect/inject"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
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

// inspection is the stage over the detectors; nil when all are off.
func inspection(c Config, detectors []inspect.Detector) *gateway.Inspection {
	if len(detectors) == 0 {
		return nil
	}
	in := &gateway.Inspection{SQL: c.EnableSQL, XSS: c.EnableXSS, Settings: (&settingsCache{}).of}
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
