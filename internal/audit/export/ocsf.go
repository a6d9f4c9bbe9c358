package export

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// ocsfVersion is the schema that the structs below follow: schema.ocsf.io/1.2.0.
const ocsfVersion = "1.2.0"

// Product names this installation in OCSF metadata.
type Product struct {
	Version string // of the program
	Tenant  string // whose log it is
}

// OCSF classes and the category each is in.
const (
	classAuthentication = 3002 // Identity & Access Management (3)
	classAPIActivity    = 6003 // Application Activity (6)
)

type ocsfEvent struct {
	ActivityID   int             `json:"activity_id"`
	ActivityName string          `json:"activity_name"`
	Actor        *ocsfActor      `json:"actor,omitempty"`
	API          *ocsfAPI        `json:"api,omitempty"`
	CategoryUID  int             `json:"category_uid"`
	ClassUID     int             `json:"class_uid"`
	Cloud        ocsfCloud       `json:"cloud"`
	HTTP         *ocsfHTTP       `json:"http_request,omitempty"`
	Message      string          `json:"message"`
	Metadata     ocsfMetadata    `json:"metadata"`
	Resources    []ocsfResource  `json:"resources,omitempty"`
	Service      *ocsfService    `json:"service,omitempty"`
	Severity     string          `json:"severity"`
	SeverityID   int             `json:"severity_id"`
	SrcEndpoint  *ocsfEndpoint   `json:"src_endpoint,omitempty"`
	Status       string          `json:"status"`
	StatusDetail string          `json:"status_detail,omitempty"`
	StatusID     int             `json:"status_id"`
	Time         int64           `json:"time"` // ms since the epoch
	TypeUID      int             `json:"type_uid"`
	Unmapped     json.RawMessage `json:"unmapped,omitempty"`
	User         *ocsfUser       `json:"user,omitempty"`
}

type ocsfActor struct {
	User ocsfUser `json:"user"`
}

type ocsfUser struct {
	Name   string `json:"name,omitempty"`
	Type   string `json:"type"`
	TypeID int    `json:"type_id"`
	UID    string `json:"uid,omitempty"`
}

type ocsfAPI struct {
	Operation string       `json:"operation"`
	Request   *ocsfRequest `json:"request,omitempty"`
	Service   ocsfService  `json:"service"`
}

type ocsfRequest struct {
	UID string `json:"uid"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfCloud struct {
	Provider string `json:"provider"` // required by both classes; this is no cloud
}

type ocsfHTTP struct {
	UID       string `json:"uid,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

type ocsfMetadata struct {
	EventCode string      `json:"event_code"`
	LogName   string      `json:"log_name"`
	Product   ocsfProduct `json:"product"`
	Sequence  int64       `json:"sequence"`
	TenantUID string      `json:"tenant_uid,omitempty"`
	UID       string      `json:"uid"`
	Version   string      `json:"version"`
}

type ocsfProduct struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

type ocsfResource struct {
	Type string `json:"type,omitempty"`
	UID  string `json:"uid"`
}

type ocsfEndpoint struct {
	IP   string `json:"ip,omitempty"`
	Name string `json:"name,omitempty"`
}

// value is an OCSF enumeration's caption and number.
type value struct {
	name string
	id   int
}

var severities = map[audit.Severity]value{
	audit.Info: {"Informational", 1}, audit.Warning: {"Medium", 3}, audit.High: {"High", 4}, audit.Critical: {"Critical", 5},
}

var userTypes = map[audit.ActorKind]value{
	audit.ActorUser: {"User", 1}, audit.ActorOperator: {"Admin", 2}, audit.ActorSystem: {"System", 3},
}

var other = value{"Other", 99}

func status(o audit.Outcome) value {
	switch o {
	case audit.Success:
		return value{"Success", 1}
	case audit.Refused, audit.Failed:
		return value{"Failure", 2}
	case audit.Unknown:
		return value{"Unknown", 0}
	}
	return other // an intent has no outcome yet
}

// activity is what an API Activity did, by the verb that ends an action.
func activity(action string) value {
	_, verb, _ := strings.Cut(action, ".")
	switch verb {
	case "create", "grant", "start":
		return value{"Create", 1}
	case "read", "list", "get", "search", "export", "watch":
		return value{"Read", 2}
	case "update", "change", "rotate", "write", "set":
		return value{"Update", 3}
	case "delete", "revoke", "erase", "destroy":
		return value{"Delete", 4}
	}
	return other
}

func or[K comparable](m map[K]value, k K) value {
	if v, ok := m[k]; ok {
		return v
	}
	return other
}

func (p Product) append(dst []byte, e *audit.Entry) ([]byte, error) {
	severity, outcome, kind := or(severities, e.Severity), status(e.Outcome), or(userTypes, e.Actor.Kind)
	if kind == other {
		kind.name = string(e.Actor.Kind)
	}
	user := ocsfUser{Name: e.Actor.Name, Type: kind.name, TypeID: kind.id, UID: e.Actor.ID}
	if user.Name == "" && user.UID == "" {
		user.UID = string(audit.ActorNobody)
	}
	out := ocsfEvent{
		Message: string(e.Type), Severity: severity.name, SeverityID: severity.id,
		Status: outcome.name, StatusID: outcome.id, StatusDetail: e.Reason, Time: e.Time.UnixMilli(),
		Metadata: ocsfMetadata{
			EventCode: string(e.Type), LogName: "audit", Sequence: e.Seq, TenantUID: p.Tenant, UID: e.ID.String(), Version: ocsfVersion,
			Product: ocsfProduct{Name: "openclaw", Vendor: "openclaw", Version: p.Version},
		},
		SrcEndpoint: &ocsfEndpoint{IP: e.IP}, Cloud: ocsfCloud{"none"},
	}
	if e.IP == "" {
		out.SrcEndpoint.Name = "internal"
	}
	if e.UserAgent != "" {
		out.HTTP = &ocsfHTTP{UID: e.RequestID, UserAgent: e.UserAgent}
	}
	var done value
	switch e.Type {
	case audit.LoginSuccess, audit.LoginFailed:
		done = value{"Logon", 1}
	case audit.TokenRevoked:
		done = value{"Logoff", 2}
	}
	if done.id != 0 {
		out.ClassUID, out.User, out.Service = classAuthentication, &user, &ocsfService{"openclaw"}
	} else {
		out.ClassUID, done = classAPIActivity, activity(e.Action)
		out.Actor = &ocsfActor{user}
		out.API = &ocsfAPI{Operation: e.Action, Service: ocsfService{"openclaw"}}
		if e.Action == "" {
			out.API.Operation = strings.ToLower(string(e.Type))
		}
		if e.RequestID != "" {
			out.API.Request = &ocsfRequest{e.RequestID}
		}
		if kind, id, found := strings.Cut(e.Resource, "/"); found {
			out.Resources = []ocsfResource{{kind, id}}
		} else if e.Resource != "" {
			out.Resources = []ocsfResource{{UID: e.Resource}}
		}
	}
	out.ActivityID, out.ActivityName = done.id, done.name
	out.CategoryUID, out.TypeUID = out.ClassUID/1000, out.ClassUID*100+done.id
	var err error
	if out.Unmapped, err = json.Marshal(map[string]any{"details": e.Details, "leaf": e.Leaf, "outcome": e.Outcome, "policy_hash": e.PolicyHash}); err != nil {
		return dst, err
	}
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err = enc.Encode(&out) // ends the line
	return buf.Bytes(), err
}
