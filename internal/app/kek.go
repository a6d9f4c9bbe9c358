package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
)

// kekBytes is an AES-256 key.
const kekBytes = 32

// ensureKEK makes the local key-encryption key, or checks the one that is
// there. What it wraps comes with envelope encryption; that it exists from the
// first start means that no data folder is ever without one.
func ensureKEK(path string) (string, error) {
	key, err := securefile.Read(path, kekBytes+1)
	switch {
	case err == nil && len(key) == kekBytes:
		return path, nil
	case err == nil:
		return "", fmt.Errorf("the key-encryption key in %s has %d bytes, want %d; restore it from your backup", path, len(key), kekBytes)
	case !errors.Is(err, os.ErrNotExist):
		return "", err
	}
	key = make([]byte, kekBytes)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	return path, securefile.Write(path, key)
}
