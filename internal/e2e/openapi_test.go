package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// operation is one of the OpenAPI document's.
type operation struct {
	method, path string
	id           string
	action       policy.Action
	public       bool
	params       []param
	body         map[string]any // schema of the JSON body, or nil
	needsBody    bool
}

type param struct {
	Name   string         `json:"name"`
	In     string         `json:"in"`
	Schema map[string]any `json:"schema"`
}

func (o operation) String() string { return o.method + " " + o.path }

// at is the path with its parameters filled in.
func (o operation) at(id string) string {
	return strings.NewReplacer("{id}", id, "{role}", "viewer", "{prefix...}", "203.0.113.77", "{prefix}", "203.0.113.77").Replace(o.path)
}

func (o operation) writes() bool { return o.method != "GET" }

var readOperations = sync.OnceValues(func() ([]operation, error) {
	a, err := ask{method: "GET", path: "/openapi.json"}.try(context.Background())
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]struct {
			ID          string           `json:"operationId"`
			Action      string           `json:"x-openclaw-action"`
			Security    []map[string]any `json:"security"`
			Params      []param          `json:"parameters"`
			RequestBody *struct {
				Required bool `json:"required"`
				Content  map[string]struct {
					Schema map[string]any `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, err
	}
	var out []operation
	for path, item := range doc.Paths {
		for method, op := range item {
			o := operation{method: strings.ToUpper(method), path: path, id: op.ID, public: len(op.Security) == 0, params: op.Params}
			if o.action, err = policy.ParseAction(op.Action); err != nil {
				return nil, &missingAction{o.String(), op.Action}
			}
			if op.RequestBody != nil {
				o.needsBody = op.RequestBody.Required
				o.body = op.RequestBody.Content["application/json"].Schema
				if ref, ok := o.body["$ref"].(string); ok {
					o.body = doc.Components.Schemas[ref[strings.LastIndex(ref, "/")+1:]]
				}
			}
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return out, nil
})

type missingAction struct{ op, action string }

func (e *missingAction) Error() string {
	return e.op + `: x-openclaw-action is "` + e.action + `", which is no action of the policy`
}

func operations(t testing.TB) []operation {
	t.Helper()
	ops, err := readOperations()
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) < 40 {
		t.Fatalf("the OpenAPI document lists %d operations only", len(ops))
	}
	return ops
}
