package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/agent"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// MemoryView is a memory.
type MemoryView struct {
	ID       string         `json:"id" format:"uuid"`
	AgentID  string         `json:"agent_id,omitempty" format:"uuid"`
	Text     string         `json:"text"`
	Tags     []string       `json:"tags"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Version  int64          `json:"version"`
	Created  time.Time      `json:"created_at"`
	Updated  time.Time      `json:"updated_at"`
}

func memoryView(m agent.Memory) MemoryView {
	v := MemoryView{ID: m.ID.String(), Text: m.Text, Tags: m.Tags, Metadata: m.Metadata, Version: m.Version, Created: m.Created, Updated: m.Updated}
	if m.Agent != uuid.Nil {
		v.AgentID = m.Agent.String()
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	return v
}

// memoryLabels are what a model reads beside a memory's text.
var memoryLabels = []string{"/tags", "/metadata"}

func (v MemoryView) version() int64 { return v.Version }

var memories = stored[agent.Memory, MemoryView]{
	kind: agent.KindMemory, event: audit.MemoryChanged, read: agent.ReadMemory, view: memoryView,
	agent: func(d plane.Document) uuid.UUID { return d.Parent },
}

// MemoryCreate describes a new memory.
type MemoryCreate struct {
	AgentID  string         `json:"agent_id,omitempty" maxLength:"36" doc:"The agent it belongs to; left out, it is the tenant's own"`
	Text     string         `json:"text" minLength:"1" maxLength:"65536"`
	Tags     []string       `json:"tags,omitempty" maxItems:"50"`
	Metadata map[string]any `json:"metadata,omitempty" maxProperties:"50"`
}

// MemoryUpdate changes what it names.
type MemoryUpdate struct {
	Text     *string        `json:"text,omitempty" minLength:"1" maxLength:"65536"`
	Tags     []string       `json:"tags,omitempty" maxItems:"50"`
	Metadata map[string]any `json:"metadata,omitempty" maxProperties:"50"`
}

// MemorySearch asks for memories.
type MemorySearch struct {
	Query   string `json:"query" minLength:"1" maxLength:"1000" doc:"Words as typed; quotes bind a phrase, a minus excludes"`
	AgentID string `json:"agent_id,omitempty" maxLength:"36"`
	Tag     string `json:"tag,omitempty" maxLength:"100"`
	Limit   int    `json:"limit,omitempty" minimum:"1" maximum:"200" default:"20"`
}

// MemoryHit is a search result. Scores order one answer and mean nothing else.
type MemoryHit struct {
	MemoryView
	Score float64 `json:"score"`
}

// owner reads an agent id from outside: one that is no id names no agent.
func owner(s string) (uuid.UUID, error) {
	if s == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return uuid.Nil, fault.New(fault.Unprocessable, "it refers to something that is not there")
	}
	return id, nil
}

func (a *API) memories() {
	type listing struct {
		Paging
		AgentID string `query:"agent_id" maxLength:"36"`
		Tag     string `query:"tag" maxLength:"100"`
	}
	register(a, op{method: "GET", path: "/v1/memories", id: "list-memories", summary: "List memories, newest first", action: policy.MemoriesRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *listing) (*Out[Page[MemoryView]], error) {
			of, err := a.memoryOwner(x, in.AgentID)
			if err != nil {
				return nil, err
			}
			p, err := x.Room.Documents().List(ctx, plane.Filter{Kind: agent.KindMemory, Parent: of, Tag: in.Tag, After: in.Cursor, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := &Out[Page[MemoryView]]{Page[MemoryView]{Items: []MemoryView{}, Next: p.Next}}
			for _, d := range p.Documents {
				v, err := memories.viewOf(d)
				if err != nil {
					return nil, err
				}
				out.Body.Items = append(out.Body.Items, v)
			}
			return out, nil
		})
	register(a, op{method: "POST", path: "/v1/memories", id: "create-memory", summary: "Store a memory", action: policy.MemoriesCreate, class: "write", status: http.StatusCreated, prompts: []string{"/text"}, labels: memoryLabels},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Once
			Body MemoryCreate
		}) (*Tagged[MemoryView], error) {
			of, err := owner(in.Body.AgentID)
			if err != nil {
				return nil, err
			}
			m := agent.Memory{ID: uuid.Must(uuid.NewV7()), Agent: of, Text: in.Body.Text, Tags: in.Body.Tags, Metadata: in.Body.Metadata}
			if err := x.Decide(policy.Resource{Kind: "memory", ID: m.ID.String(), Agent: of}); err != nil {
				return nil, err
			}
			if of != uuid.Nil { // the parent must be an agent, not just a document
				if _, err := x.Room.Documents().Get(ctx, agent.KindAgent, of); err != nil {
					if fault.CodeOf(err) == fault.NotFound {
						err = fault.New(fault.Unprocessable, "it refers to something that is not there")
					}
					return nil, err
				}
			}
			return memories.create(ctx, x, in.Key, in.Body, m)
		})
	register(a, op{method: "GET", path: "/v1/memories/{id}", id: "get-memory", summary: "See a memory", action: policy.MemoriesRead, class: "read"}, memories.show)
	register(a, op{method: "PATCH", path: "/v1/memories/{id}", id: "update-memory", summary: "Change a memory", action: policy.MemoriesUpdate, class: "write", prompts: []string{"/text"}, labels: memoryLabels},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Aim
			Body MemoryUpdate
		}) (*Tagged[MemoryView], error) {
			return memories.update(ctx, x, in.Aim, func(m *agent.Memory) {
				set(&m.Text, in.Body.Text)
				if in.Body.Tags != nil {
					m.Tags = in.Body.Tags
				}
				if in.Body.Metadata != nil {
					m.Metadata = in.Body.Metadata
				}
			})
		})
	register(a, op{method: "DELETE", path: "/v1/memories/{id}", id: "delete-memory", summary: "Delete a memory", action: policy.MemoriesDelete, class: "write", status: http.StatusNoContent}, memories.remove)
	register(a, op{method: "POST", path: "/v1/memories/search", id: "search-memories", summary: "Search memories by their text", action: policy.MemoriesSearch, class: "read", prompts: []string{"/query"}},
		func(ctx context.Context, x *gateway.Exchange, in *struct{ Body MemorySearch }) (*Out[Page[MemoryHit]], error) {
			of, err := a.memoryOwner(x, in.Body.AgentID)
			if err != nil {
				return nil, err
			}
			hits, err := x.Room.Documents().Search(ctx, in.Body.Query, plane.Filter{Kind: agent.KindMemory, Parent: of, Tag: in.Body.Tag, Limit: in.Body.Limit})
			if err != nil {
				return nil, err
			}
			out := &Out[Page[MemoryHit]]{Page[MemoryHit]{Items: []MemoryHit{}}}
			for _, h := range hits {
				v, err := memories.viewOf(h.Document)
				if err != nil {
					return nil, err
				}
				out.Body.Items = append(out.Body.Items, MemoryHit{v, h.Score})
			}
			return out, nil
		})
}

// memoryOwner is whose memories a listing may show: an agent's token sees its
// own agent's, whatever it asks for.
func (a *API) memoryOwner(x *gateway.Exchange, asked string) (uuid.UUID, error) {
	of, err := owner(asked)
	if err != nil {
		return uuid.Nil, err
	}
	if of == uuid.Nil && x.Principal.Agent != uuid.Nil {
		of = x.Principal.Agent
	}
	return of, x.Decide(policy.Resource{Kind: "memory", Agent: of})
}
