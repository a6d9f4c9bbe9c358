package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/alexedwards/argon2id"
)

// Params are the costs of new hashes: OWASP Password Storage Cheat Sheet,
// Argon2id, second choice.
var params = argon2id.Params{Memory: 19456, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// Stored hashes cost what they say. These limits keep a row that was tampered
// with from asking for all memory.
const (
	maxMemory     = 256 << 10 // KiB
	maxIterations = 16
	maxThreads    = 16
	maxEncoded    = 256
)

// Config bounds the work; zero fields mean the defaults.
type Config struct {
	Concurrent int           // hashes at a time, 19 MiB and one core each: half the cores, at least one
	Waiting    int           // logins in the queue at most: 64
	Wait       time.Duration // longest wait for a place: 2 s
}

// Hasher hashes and compares, a few at a time. A login flood fills the queue
// and gets fault.Unavailable with a RetryAfter; memory and the other cores stay
// with those who are already in.
type Hasher struct {
	places  chan struct{}
	waiting atomic.Int64
	limit   int64
	wait    time.Duration
	dummy   string
}

// NewHasher makes the hash that unknown users are compared with, at the cost of
// one hash.
func NewHasher(c Config) (*Hasher, error) {
	if c.Concurrent == 0 {
		c.Concurrent = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if c.Waiting == 0 {
		c.Waiting = 64
	}
	if c.Wait == 0 {
		c.Wait = 2 * time.Second
	}
	if c.Concurrent < 0 || c.Waiting < 0 || c.Wait < 0 {
		return nil, errors.New("password hasher: limits must be positive")
	}
	h := &Hasher{places: make(chan struct{}, c.Concurrent), limit: int64(c.Waiting), wait: c.Wait}
	var err error
	if h.dummy, err = argon2id.CreateHash(rand.Text(), &params); err != nil {
		return nil, fmt.Errorf("password hasher: %w", err)
	}
	return h, nil
}

// Hash returns the PHC string of a password. It does not judge: Check does.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	normal, err := normalize(password)
	if err != nil {
		return "", err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	encoded, err := argon2id.CreateHash(normal, &params)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return encoded, nil
}

// Verify compares a password with a stored hash. encoded is empty when there is
// no such user or no password: the same work is done and the answer is no, so
// time does not tell who exists. stale means that the password is right and its
// hash should be replaced by a new one of it. An error of code unavailable
// means that the queue is full.
func (h *Hasher) Verify(ctx context.Context, password, encoded string) (match, stale bool, err error) {
	normal, bad := normalize(password)
	if bad != nil {
		// Depends on what was typed and not on who exists; it can be nobody's
		// password, because Hash refuses it.
		return false, false, nil
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	target, corrupt := encoded, error(nil)
	if encoded != "" {
		corrupt = sane(encoded)
	}
	if encoded == "" || corrupt != nil {
		target = h.dummy
	}
	match, got, err := argon2id.CheckHash(normal, target)
	switch {
	case corrupt != nil:
		return false, false, fmt.Errorf("compare password: %w", corrupt)
	case err != nil:
		return false, false, fmt.Errorf("compare password: %w", err)
	case encoded == "" || !match:
		return false, false, nil
	}
	return true, *got != params, nil
}

// sane checks a stored hash before its parameters are obeyed.
func sane(encoded string) error {
	if len(encoded) > maxEncoded {
		return fmt.Errorf("stored hash has %d characters", len(encoded))
	}
	p, salt, key, err := argon2id.DecodeHash(encoded)
	if err != nil {
		return fmt.Errorf("stored hash: %w", err)
	}
	if p.Memory < 8 || p.Memory > maxMemory || p.Iterations < 1 || p.Iterations > maxIterations ||
		p.Parallelism < 1 || p.Parallelism > maxThreads || len(salt) < 8 || len(key) < 16 {
		return fmt.Errorf("stored hash has parameters out of bounds: m=%d t=%d p=%d", p.Memory, p.Iterations, p.Parallelism)
	}
	return nil
}

// enter waits for a place among the concurrent.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-h.places }
	select {
	case h.places <- struct{}{}:
		return leave, nil
	default:
	}
	if h.waiting.Add(1) > h.limit {
		h.waiting.Add(-1)
		return nil, busy(nil)
	}
	defer h.waiting.Add(-1)
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.places <- struct{}{}:
		return leave, nil
	case <-timer.C:
		return nil, busy(nil)
	case <-ctx.Done():
		return nil, busy(ctx.Err())
	}
}

func busy(cause error) error {
	e := fault.Wrap(cause, fault.Unavailable, "too many logins at the moment; try again shortly")
	e.RetryAfter = 2 * time.Second
	return e
}
