// Package inspect tells attacks from ordinary work in text that strangers wrote.
//
// Detection is a signal with a calibrated confidence, not a wall: the hard
// boundary stays in scopes, egress rules and approvals. This package holds the
// words every detector shares; prompt injection lives in inspect/prompt, the
// SQL family and XSS in inspect/inject. A detector never changes what it reads.
package inspect

// Kind names a detector.
type Kind string

const (
	Prompt Kind = "prompt" // prompt injection, on text meant for a model
	SQL    Kind = "sql"    // SQL, NoSQL and Cypher injection, on structured fields only
	XSS    Kind = "xss"    // script injection, on fields that end up rendered
)

// Trust says where a text came from; what is normal from a user is not normal
// from a web page. The zero value is the least trusted.
type Trust uint8

const (
	Tool     Trust = iota // the answer of a tool, an API, a program
	Document              // a file, a page, a mail that a user pointed at
	User                  // typed by an authenticated user
)

// Decision is what to do with a text. The order is the order of severity.
type Decision uint8

const (
	Allow Decision = iota
	Flag           // pass, and record
	Block          // refuse, and record
)

// Finding is one reason: a rule that fired over text[Start:End] of the original
// text (byte offsets), and its share of the verdict's score. Start and End are
// both 0 where a reason has no place (the learned model's own share).
type Finding struct {
	Rule   string  `json:"rule"`
	Family string  `json:"family"`
	Start  int     `json:"start"`
	End    int     `json:"end"`
	Share  float64 `json:"share"`
}

// Verdict is a detector's answer. Confidence lies in [0,1] and is calibrated:
// of the texts given 0.7, seven in ten are attacks. Decision is the default
// one (block above 0.5); a tenant's settings may decide otherwise from the
// same Confidence.
type Verdict struct {
	Kind       Kind
	Confidence float64
	Decision   Decision
	Families   []string  // sorted, without repeats
	Findings   []Finding // by share, greatest first
}

// Detector inspects one text. It is safe for concurrent use, never panics, and
// takes time linear in len(text).
type Detector interface {
	Kind() Kind
	Inspect(text string, trust Trust) Verdict
}
