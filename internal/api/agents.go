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

func (v AgentView) version() int64 { return v.Version }

var agents = stored[agent.Agent, AgentView]{
	kind: agent.KindAgent, event: audit.AgentChanged, read: agent.Read, view: agentView,
	agent: func(d plane.Document) uuid.UUID { return d.ID },
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

// What a model reads of an agent: texts, and what stands beside them in lists
// that it is shown.
var (
	agentPrompts = []string{"/instructions", "/description"}
	agentLabels  = []string{"/name", "/tools", "/metadata"}
)

func (a *API) agents() {
	register(a, op{method: "GET", path: "/v1/agents", id: "list-agents", summary: "List agents, newest first", action: policy.AgentsRead, class: "read"},
		func(ctx context.Context, x *gateway.Exchange, in *Paging) (*Out[Page[AgentView]], error) {
			p, err := x.Room.Documents().List(ctx, plane.Filter{Kind: agent.KindAgent, After: in.Cursor, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := &Out[Page[AgentView]]{Page[AgentView]{Items: []AgentView{}, Next: p.Next}}
			for _, d := range p.Documents {
				v, err := agents.viewOf(d)
				if err != nil {
					return nil, err
				}
				if x.Decide(policy.Resource{Kind: "agent", ID: v.ID, Agent: d.ID}) == nil {
					out.Body.Items = append(out.Body.Items, v)
				}
			}
			return out, nil
		})
	register(a, op{method: "POST", path: "/v1/agents", id: "create-agent", summary: "Create an agent", action: policy.AgentsCreate, class: "write", status: http.StatusCreated, prompts: agentPrompts, labels: agentLabels},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Once
			Body AgentCreate
		}) (*Tagged[AgentView], error) {
			b := in.Body
			n := agent.Agent{ID: uuid.Must(uuid.NewV7()), Name: b.Name, Description: b.Description, Model: b.Model, Instructions: b.Instructions, Tools: b.Tools, Metadata: b.Metadata}
			return agents.create(ctx, x, in.Key, b, n)
		})
	register(a, op{method: "GET", path: "/v1/agents/{id}", id: "get-agent", summary: "See an agent", action: policy.AgentsRead, class: "read"}, agents.show)
	register(a, op{method: "PATCH", path: "/v1/agents/{id}", id: "update-agent", summary: "Change an agent", action: policy.AgentsUpdate, class: "write", prompts: agentPrompts, labels: agentLabels},
		func(ctx context.Context, x *gateway.Exchange, in *struct {
			Aim
			Body AgentUpdate
		}) (*Tagged[AgentView], error) {
			return agents.update(ctx, x, in.Aim, func(v *agent.Agent) {
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
			})
		})
	register(a, op{method: "DELETE", path: "/v1/agents/{id}", id: "delete-agent", summary: "Delete an agent and its memories", action: policy.AgentsDelete, class: "write", status: http.StatusNoContent}, agents.remove)
}
