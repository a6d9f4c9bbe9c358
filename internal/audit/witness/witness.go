// Package witness asks C2SP witnesses to cosign checkpoints (tlog-witness).
//
// A witness signs a log's checkpoint only if it contains the last one it signed.
// A log that shows two histories to two people therefore needs the witnesses'
// help, and a back-dated one needs their clocks.
package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxAnswer bounds a witness's answer: some signature lines, or one number.
const maxAnswer = 16 << 10

// ErrQuorum means that fewer witnesses cosigned than the policy asks for.
var ErrQuorum = errors.New("too few witnesses cosigned")

// ErrAhead means that a witness has seen a larger tree of this log than the one
// submitted. Unless two replicas raced, the log was rolled back.
var ErrAhead = errors.New("the witness has seen a larger tree")

// ErrFork means that the witness refused the proof: what it cosigned before is
// not a prefix of what it was shown now.
var ErrFork = errors.New("the witness holds another history")

// Prover proves that the tree of the submitted checkpoint contains the log's
// tree of the old size; for old 0 it is not asked. Policy.Cosign calls it from
// several goroutines at once.
type Prover func(ctx context.Context, old int64) (tlog.TreeProof, error)

// Witness is one witness's HTTP endpoint and key.
type Witness struct {
	url    string
	vkey   *torchwood.CosignatureVerifier
	client *http.Client
}

// New makes a client of the witness whose submission prefix and vkey are given.
// Redirects are not followed: a witness is spoken to where it was configured.
func New(prefix, vkey string, transport http.RoundTripper) (*Witness, error) {
	u, err := url.Parse(prefix)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("configuring witness %q: want an http or https URL", prefix)
	}
	v, err := torchwood.NewCosignatureVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("configuring witness %q: %w", prefix, err)
	}
	return &Witness{u.JoinPath("add-checkpoint").String(), v, &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Name is the witness's key name.
func (w *Witness) Name() string { return w.vkey.Name() }

// Cosign submits a signed checkpoint and gives the witness's signature line,
// verified, and its time. old is the size the witness is believed to have seen;
// when it says otherwise it is asked once more with its own.
func (w *Witness) Cosign(ctx context.Context, signed []byte, size, old int64, prove Prover) (line string, at time.Time, err error) {
	for range 2 {
		var known int64
		line, at, known, err = w.submit(ctx, signed, old, prove)
		if !errors.Is(err, errConflict) {
			break
		}
		if known > size {
			return "", time.Time{}, fmt.Errorf("witness %s: %w: %d records, ours has %d", w.Name(), ErrAhead, known, size)
		}
		if known == size && known == old { // the same size, and it does not cosign
			return "", time.Time{}, fmt.Errorf("witness %s: %w: of %d records too", w.Name(), ErrFork, size)
		}
		old = known
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("witness %s: %w", w.Name(), err)
	}
	return line, at, nil
}

var errConflict = errors.New("it has seen another size")

func (w *Witness) submit(ctx context.Context, signed []byte, old int64, prove Prover) (line string, at time.Time, known int64, err error) {
	var proof tlog.TreeProof
	if old > 0 {
		if proof, err = prove(ctx, old); err != nil {
			return "", at, 0, fmt.Errorf("proving growth from %d: %w", old, err)
		}
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintln(&body, h)
	}
	body.WriteByte('\n')
	body.Write(signed)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, &body)
	if err != nil {
		return "", at, 0, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return "", at, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return "", at, 0, fmt.Errorf("reading the answer: %w", err)
	}
	switch {
	case len(answer) > maxAnswer:
		return "", at, 0, errors.New("the answer is too long")
	case resp.StatusCode == http.StatusConflict:
		// The header is how the specification tells a size from a page.
		text := strings.TrimSuffix(string(answer), "\n")
		known, err := strconv.ParseInt(text, 10, 64)
		if resp.Header.Get("Content-Type") != "text/x.tlog.size" || err != nil || known < 0 {
			return "", at, 0, errors.New("the answer 409 has no size")
		}
		return "", at, known, errConflict
	case resp.StatusCode == http.StatusUnprocessableEntity:
		return "", at, 0, ErrFork
	case resp.StatusCode != http.StatusOK:
		return "", at, 0, fmt.Errorf("answered %d", resp.StatusCode)
	}
	return w.find(signed, answer)
}

// find picks the witness's own line out of an answer and verifies it.
func (w *Witness) find(signed, answer []byte) (line string, at time.Time, _ int64, err error) {
	i := bytes.LastIndex(signed, []byte("\n\n"))
	if i < 0 {
		return "", at, 0, errors.New("the checkpoint is not a signed note")
	}
	n, err := note.Open(append(bytes.Clone(signed[:i+2]), answer...), note.VerifierList(w.vkey))
	if err != nil {
		return "", at, 0, fmt.Errorf("the answer's signature: %w", err)
	}
	sig := n.Sigs[0]
	unix, err := torchwood.CosignatureTimestamp(sig)
	if err != nil {
		return "", at, 0, fmt.Errorf("the answer's signature: %w", err)
	}
	return "— " + sig.Name + " " + sig.Base64, time.Unix(unix, 0).UTC(), 0, nil
}
