package app

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/postgres"
	"github.com/Nissimmiracles/openclaw/internal/shield"
)

// metrics are Prometheus's, under openclaw_. No label holds what a client
// chooses: routes are patterns, methods and codes are closed sets, and tenants
// are not named.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	series   sync.Map // kind of request: its *series
}

// kind is what the series of a request are found by; their own maps would build
// and hash its labels for each.
type kind struct {
	route, method string
	status        int
	code          fault.Code
}

type series struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

func newMetrics(store *postgres.Store, s *shield.Shield) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "openclaw_http_requests_total", Help: "Requests by route, method, status and problem code.",
		}, []string{"route", "method", "status", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "openclaw_http_request_seconds", Help: "Time from the first stage to the end of the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"route"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "openclaw_audit_notes_lost_total", Help: "Reads that could not be recorded."},
			func() float64 { return float64(store.NotesLost()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "openclaw_audit_publish_failures_total", Help: "Audit logs that could not be signed: a fault, or a log that was altered."},
			func() float64 { return float64(store.PublishFailures()) }))
	if s != nil {
		for name, get := range map[string]func(shield.Counters) uint64{
			"allowed": func(c shield.Counters) uint64 { return c.Allowed }, "limited": func(c shield.Counters) uint64 { return c.Limited },
			"blocked": func(c shield.Counters) uint64 { return c.Blocked }, "refused": func(c shield.Counters) uint64 { return c.Refused },
			"dropped": func(c shield.Counters) uint64 { return c.Dropped },
		} {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "openclaw_shield_decisions_total", Help: "The shield's decisions on requests, and connections dropped.",
				ConstLabels: prometheus.Labels{"verdict": name},
			}, func() float64 { return float64(get(s.Counters())) }))
		}
	}
	return m
}

// Request counts one request.
func (m *metrics) Request(route, method string, status int, code fault.Code, took time.Duration) {
	k := kind{route, method, status, code}
	v, ok := m.series.Load(k)
	if !ok {
		v, _ = m.series.LoadOrStore(k, &series{
			m.requests.WithLabelValues(route, method, strconv.Itoa(status), string(code)), m.seconds.WithLabelValues(route),
		})
	}
	s := v.(*series)
	s.requests.Inc()
	s.seconds.Observe(took.Seconds())
}
