// Package agent knows agents and what they remember, on top of a room's
// documents.
package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/plane"
)

// Kinds of documents.
const (
	KindAgent  = "agent"
	KindMemory = "memory"
)

// Agent is a program that a tenant lets a model run.
type Agent struct {
	ID           uuid.UUID
	Name         string // unique within the tenant
	Description  string
	Model        string
	Instructions string
	Tools        []string
	Metadata     map[string]any
	Version      int64
	Created      time.Time
	Updated      time.Time
}

type agentData struct {
	Description  string         `json:"description,omitempty"`
	Model        string         `json:"model,omitempty"`
	Instructions string         `json:"instructions,omitempty"`
	Tools        []string       `json:"tools,omitempty"`
	Metadata     map[string]any `json:"metadata,omitempty"`
}

// Document is a as the room keeps it; its name and description can be searched.
func (a Agent) Document() (plane.Document, error) {
	data, err := json.Marshal(agentData{a.Description, a.Model, a.Instructions, a.Tools, a.Metadata})
	if err != nil {
		return plane.Document{}, fmt.Errorf("write agent: %w", err)
	}
	return plane.Document{Kind: KindAgent, ID: a.ID, Name: a.Name, Text: a.Name + "\n" + a.Description, Data: data, Version: a.Version}, nil
}

// Read turns a document back into an agent.
func Read(d plane.Document) (Agent, error) {
	var data agentData
	if err := json.Unmarshal(d.Data, &data); err != nil {
		return Agent{}, fmt.Errorf("read agent %s: %w", d.ID, err)
	}
	return Agent{
		ID: d.ID, Name: d.Name, Description: data.Description, Model: data.Model, Instructions: data.Instructions,
		Tools: data.Tools, Metadata: data.Metadata, Version: d.Version, Created: d.Created, Updated: d.Updated,
	}, nil
}

// Memory is a text that a tenant's agents can find again.
type Memory struct {
	ID       uuid.UUID
	Agent    uuid.UUID // the agent it belongs to, or zero: the tenant's own
	Text     string
	Tags     []string
	Metadata map[string]any
	Version  int64
	Created  time.Time
	Updated  time.Time
}

type memoryData struct {
	Metadata map[string]any `json:"metadata,omitempty"`
}

// Document is m as the room keeps it.
func (m Memory) Document() (plane.Document, error) {
	data, err := json.Marshal(memoryData{m.Metadata})
	if err != nil {
		return plane.Document{}, fmt.Errorf("write memory: %w", err)
	}
	return plane.Document{Kind: KindMemory, ID: m.ID, Parent: m.Agent, Text: m.Text, Tags: m.Tags, Data: data, Version: m.Version}, nil
}

// ReadMemory turns a document back into a memory.
func ReadMemory(d plane.Document) (Memory, error) {
	var data memoryData
	if err := json.Unmarshal(d.Data, &data); err != nil {
		return Memory{}, fmt.Errorf("read memory %s: %w", d.ID, err)
	}
	return Memory{ID: d.ID, Agent: d.Parent, Text: d.Text, Tags: d.Tags, Metadata: data.Metadata, Version: d.Version, Created: d.Created, Updated: d.Updated}, nil
}
