package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// Errors of an appeal.
var (
	// ErrConsent: without consent a text is not kept.
	ErrConsent = errors.New("the writer's consent is needed to keep the text")
	// ErrAppeal: the text is empty, too long, or not UTF-8.
	ErrAppeal = errors.New("the text cannot be filed")
)

// maxAppealBytes bounds a filed text.
const maxAppealBytes = 64 << 10

// Appeal is a case that people should look at: a text that was blocked, or was
// not, against what its reader thinks.
type Appeal struct {
	Text    string    `json:"text"`
	Kind    Kind      `json:"kind"`
	Trust   string    `json:"trust"`
	Label   int       `json:"label"` // what it should have been: 0 innocent, 1 attack
	Was     float64   `json:"was"`   // the confidence given
	Rules   []string  `json:"rules,omitempty"`
	Owner   string    `json:"owner"` // who appeals
	Filed   time.Time `json:"filed"`
	Consent bool      `json:"consent"`
}

// Check refuses a case that cannot be filed: ErrConsent, ErrAppeal.
func (a *Appeal) Check() error {
	if !a.Consent {
		return fmt.Errorf("file the appeal: %w", ErrConsent)
	}
	if a.Text == "" || len(a.Text) > maxAppealBytes || !utf8.ValidString(a.Text) || a.Label < 0 || a.Label > 1 {
		return fmt.Errorf("file the appeal: %w", ErrAppeal)
	}
	return nil
}

// Name is the case's own: made of the digest of kind, trust and text.
func (a *Appeal) Name() string {
	sum := sha256.Sum256([]byte(string(a.Kind) + "\x00" + a.Trust + "\x00" + a.Text))
	return "appeal-" + hex.EncodeToString(sum[:8])
}

// FileAppeal writes the case as one JSON line to a new file of its own in dir,
// named by Name: the same appeal twice is one file. The file is readable by its
// owner only. It returns the path.
func FileAppeal(dir string, a Appeal) (string, error) {
	if err := a.Check(); err != nil {
		return "", err
	}
	line, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("file the appeal: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("file the appeal: %w", err)
	}
	name := filepath.Join(dir, a.Name()+".jsonl")
	tmp, err := os.CreateTemp(dir, ".appeal-*")
	if err != nil {
		return "", fmt.Errorf("file the appeal: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(line, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return "", fmt.Errorf("file the appeal: %w", err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return "", fmt.Errorf("file the appeal: %w", err)
	}
	return name, nil
}
