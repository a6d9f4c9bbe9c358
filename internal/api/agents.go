package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/agent"
	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/gateway"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/policy"
)

// AgentView is an agent.
type AgentView struct {
	ID           string         `json:"id" format:"uuid"`
	Name         string         `json:"name"`
	Description  string         `json:"description,omitempty"`
	Model        string         `json:"model,omitempty"`
	Instructions string         `json:"instructions,omitempty"`
	Tools        []string       `json:"tools"`
	Metadata     map[string]any `json:"metadata,omitempty"`
	Version      int64          `json:"version"`
	Created      time.Time      `json:"created_at"`
	Updated      time.Time      `json:"updated_at"`
}

func agentView(v agent.Agent) AgentView {
	tools := v.Tools
	if tools == nil {
		tools = []string{}
	}
	return AgentView{v.ID.String(), v.Name, v.Description, v.Model, v.Instructions, tools, v.Metadata, v.Version, v.Created, v.Updated}
}

// AgentCreate describes a new agent.
type AgentCreate struct {
	Name         string         `json:"name" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	Description  string         `json:"description,omitempty" maxLength:"2000"`
	Model        string         `json:"model,omitempty" maxLength:"200"`
	Instructions string         `json:"instructions,omitempty" maxLength:"32768"`
	Tools        []string       `json:"tools,omitempty" maxItems:"100"`
	Metadata     map[string]any `json:"metadata,omitempty" maxProperties:"50"`
}

// AgentUpdate changes what it names.
type AgentUpdate struct {
	Name         *string        `json:"name,omitempty" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	Description  *string        `json:"description,omitempty" maxLength:"2000"`
	Model        *string        `json:"model,omitempty" maxLength:"200"`
	Instructions *string        `json:"instructions,omitempty" maxLength:"32768"`
	Tools        []string       `json:"tools,omitempty" maxItems:"100"`
	Metadata     map[string]any `json:"metadata,omitempty" maxProperties:"50"`
}

// agentPrompts are what a model reads of an agent.
var agentPrompts = []string{"/instructions", "/description"}

func (a *API) agents() {
	register(a, op{method: "GET", path: "/v1/agents", id: "list-agents", summary: "List agents, newest first", action: policy.AgentsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *Paging) (*Out[Page[AgentView]], error) {
			p, err := x.Room.Documents().List(ctx, plane.Filter{Kind: agent.KindAgent, After: in.Cursor, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := &Out[Page[AgentView]]{Page[AgentView]{Items: []AgentView{}, Next: p.Next}}
			for _, d := range p.Documents {
				v, err := agent.Read(d)
				if err != nil {
					return nil, err
				}
				if x.Decide(policy.Resource{Kind: "agent", ID: d.ID.String(), Agent: d.ID}) == nil {
					out.Body.Items = append(out.Body.Items, agentView(v))
				}
			}
			return out, nil
		})
	register(a, op{method: "POST", path: "/v1/agents", id: "create-agent", summary: "Create an agent", action: policy.AgentsCreate, class: "write", status: http.StatusCreated, prompts: agentPrompts},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Once
			Body AgentCreate
		}) (*Tagged[AgentView], error) {
			b := in.Body
			n := agent.Agent{ID: uuid.Must(uuid.NewV7()), Name: b.Name, Description: b.Description, Model: b.Model, Instructions: b.Instructions, Tools: b.Tools, Metadata: b.Metadata}
			doc, err := n.Document()
			if err != nil {
				return nil, err
			}
			ev := x.Event(audit.AgentChanged, "agent/"+n.ID.String())
			ev.Details = map[string]any{"change": "created"}
			v, err := create(ctx, x, in.Key, b, ev, doc, func(d plane.Document) (AgentView, error) {
				v, err := agent.Read(d)
				return agentView(v), err
			})
			if err != nil {
				return nil, err
			}
			return &Tagged[AgentView]{etag(v.Version), v}, nil
		})
	register(a, op{method: "GET", path: "/v1/agents/{id}", id: "get-agent", summary: "See an agent", action: policy.AgentsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *ID) (*Tagged[AgentView], error) {
			v, err := a.findAgent(ctx, x, in)
			if err != nil {
				return nil, err
			}
			return &Tagged[AgentView]{etag(v.Version), agentView(v)}, nil
		})
	register(a, op{method: "PATCH", path: "/v1/agents/{id}", id: "update-agent", summary: "Change an agent", action: policy.AgentsUpdate, class: "write", prompts: agentPrompts},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
			Body AgentUpdate
		}) (*Tagged[AgentView], error) {
			ver, err := in.version()
			if err != nil {
				return nil, err
			}
			v, err := a.findAgent(ctx, x, &in.ID)
			if err != nil {
				return nil, err
			}
			set(&v.Name, in.Body.Name)
			set(&v.Description, in.Body.Description)
			set(&v.Model, in.Body.Model)
			set(&v.Instructions, in.Body.Instructions)
			if in.Body.Tools != nil {
				v.Tools = in.Body.Tools
			}
			if in.Body.Metadata != nil {
				v.Metadata = in.Body.Metadata
			}
			doc, err := v.Document()
			if err != nil {
				return nil, err
			}
			ev := x.Event(audit.AgentChanged, "agent/"+v.ID.String())
			ev.Details = map[string]any{"change": "updated"}
			if doc, err = update(ctx, x, ev, doc, ver); err != nil {
				return nil, err
			}
			if v, err = agent.Read(doc); err != nil {
				return nil, err
			}
			return &Tagged[AgentView]{etag(v.Version), agentView(v)}, nil
		})
	register(a, op{method: "DELETE", path: "/v1/agents/{id}", id: "delete-agent", summary: "Delete an agent and its memories", action: policy.AgentsDelete, class: "write", status: http.StatusNoContent},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			ID
			IfMatch
		}) (*Empty, error) {
			ver, err := in.version()
			if err != nil {
				return nil, err
			}
			v, err := a.findAgent(ctx, x, &in.ID)
			if err != nil {
				return nil, err
			}
			ev := x.Event(audit.AgentChanged, "agent/"+v.ID.String())
			ev.Details = map[string]any{"change": "deleted"}
			return nil, x.Change(ctx, ev, func(tx plane.Tx) error { return tx.Documents().Delete(ctx, agent.KindAgent, v.ID, ver) })
		})
}

func (a *API) findAgent(ctx context.Context, x *gateway.Exchange, in *ID) (agent.Agent, error) {
	id, err := in.parse()
	if err != nil {
		return agent.Agent{}, err
	}
	d, err := x.Room.Documents().Get(ctx, agent.KindAgent, id)
	if err != nil {
		return agent.Agent{}, err
	}
	if err := x.Decide(policy.Resource{Kind: "agent", ID: in.ID, Agent: id}); err != nil {
		return agent.Agent{}, err
	}
	return agent.Read(d)
}

// set replaces *old where something new was given.
func set[T any](old *T, new *T) {
	if new != nil {
		*old = *new
	}
}

// create stores a new document once per Idempotency-Key.
func create[V any](ctx context.Context, x *gateway.Exchange, key string, request any, ev audit.Event, doc plane.Document, view func(plane.Document) (V, error)) (V, error) {
	v, err := once(ctx, x, key, request, http.StatusCreated, func(claim func(plane.Tx) error, answer func(plane.Tx, V)) (V, error) {
		var v V
		err := x.Change(ctx, ev, func(tx plane.Tx) error {
			if err := claim(tx); err != nil {
				return err
			}
			d, err := tx.Documents().Create(ctx, doc)
			if err != nil {
				return err
			}
			if v, err = view(d); err != nil {
				return err
			}
			answer(tx, v)
			return nil
		})
		return v, err
	})
	return v, err
}

// update replaces a document. Without a version from the client, the one just
// read must still hold: two patches must not undo each other unseen.
func update(ctx context.Context, x *gateway.Exchange, ev audit.Event, doc plane.Document, ifVersion int64) (out plane.Document, err error) {
	if ifVersion == 0 {
		ifVersion = doc.Version
	}
	err = x.Change(ctx, ev, func(tx plane.Tx) (err error) {
		out, err = tx.Documents().Update(ctx, doc, ifVersion)
		tx.Detail("version", out.Version)
		return err
	})
	return out, err
}
