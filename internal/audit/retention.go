package audit

import "time"

// Bodies are kept for a number of days after the month that they were published
// in; leaf hashes and the tree stay for good.
const (
	DefaultRetention = 2555   // days, seven years
	MinRetention     = 30     // less is a mistake
	MaxRetention     = 36_500 // days, a hundred years
	// SoundRetention is the least that production starts with: incidents are
	// found months after they began.
	SoundRetention = 365
)

// Hold is a legal hold: while Held nothing of the tenant's log is deleted,
// however old. Owner answers for it.
type Hold struct {
	Held   bool      `json:"held"`
	Owner  string    `json:"owner,omitempty" doc:"Who answers for it"`
	Reason string    `json:"reason,omitempty" doc:"Why, as the operator wrote it"`
	At     time.Time `json:"at,omitzero" doc:"When it was placed or lifted"`
}

// Retention is how many days bodies are kept: Days now, Next from NextAt on if
// a lowering waits for its force. Platform is the platform's part of it.
type Retention struct {
	Days     int       `json:"days" doc:"Days in force"`
	Platform int       `json:"platform_days" doc:"Days that the platform keeps every log; a tenant's own can only be longer"`
	Next     int       `json:"next_days,omitempty" doc:"A lowering that is decided and not yet in force"`
	NextAt   time.Time `json:"next_at,omitzero" doc:"When it comes into force"`
	Owner    string    `json:"owner,omitempty" doc:"Who decided last"`
	Reason   string    `json:"reason,omitempty"`
}

// Deletion is a signed deletion: the bodies of records First to Last are gone,
// or are going until Done. Signed is the note; docs/AUDIT.md has its lines.
type Deletion struct {
	Number int    `json:"number"`
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Month  string `json:"month" doc:"In which they were published, YYYY-MM"`
	Root   string `json:"root" doc:"RFC 6962 root of records 1 to last, base64"`
	Days   int    `json:"days" doc:"Retention in force when it was signed"`
	Signed string `json:"signed" doc:"C2SP signed note by the log's key"`
	Done   bool   `json:"done"`
}

// Keeping is what becomes of a log with time.
type Keeping struct {
	Retention Retention  `json:"retention"`
	Hold      Hold       `json:"hold"`
	Deletions []Deletion `json:"deletions"`
}
