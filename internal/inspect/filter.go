package inspect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxLine is the default bound of one input line, in bytes.
const MaxLine = 8 << 20

// FilterOptions configure Filter. The zero value has one worker and default
// settings.
type FilterOptions struct {
	Detector Detector
	Workers  int
	MaxLine  int // bytes; longer lines are answered with an error and skipped
	// Decide turns a verdict into a decision; nil takes the verdict's own.
	Decide func(v Verdict, text string) Decision
}

// request is one input line. Trust defaults to the least trusted.
type request struct {
	ID    json.RawMessage `json:"id"`
	Text  *string         `json:"text"`
	Trust string          `json:"trust"`
}

// answer is one output line.
type answer struct {
	ID         json.RawMessage `json:"id"`
	Confidence float64         `json:"confidence"`
	Decision   Decision        `json:"decision"`
	Families   []string        `json:"families"`
	Rules      []string        `json:"rules"`
}

// refusal answers a line that was no request.
type refusal struct {
	ID    json.RawMessage `json:"id"`
	Error string          `json:"error"`
}

// job is a line on its way through; out is signalled when answer is ready.
type job struct {
	line    []byte
	tooLong bool
	answer  []byte
	done    chan struct{}
}

// Filter answers every JSON line of r with one JSON line on w, in order:
// {"id":any,"text":string,"trust":"user|document|tool"} with
// {"id":same,"confidence":0..1,"decision":"allow|flag|block","families":[],"rules":[]}.
// A line that is no such object is answered in its place with
// {"id":…,"error":…} and the stream goes on. Blank lines are skipped. Memory is
// bounded by four lines per worker. Filter returns the first error of reading or
// writing, or ctx's. It does not close r: a reader that blocks holds one
// goroutine until it returns.
func Filter(ctx context.Context, r io.Reader, w io.Writer, o FilterOptions) error {
	if o.Detector == nil {
		return errors.New("filter: no detector")
	}
	workers := max(1, min(o.Workers, 256))
	limit := o.MaxLine
	if limit <= 0 {
		limit = MaxLine
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan *job, workers)
	order := make(chan *job, 2*workers)
	spare := sync.Pool{New: func() any { return &job{done: make(chan struct{}, 1)} }}

	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for j := range todo {
				j.answer = o.reply(j, j.answer[:0])
				j.done <- struct{}{}
			}
		})
	}
	var readErr error
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		defer close(order)
		defer close(todo)
		in := bufio.NewReaderSize(r, 64<<10)
		for ctx.Err() == nil {
			j := spare.Get().(*job)
			var err error
			j.line, j.tooLong, err = readLine(in, j.line[:0], limit)
			if len(j.line) > 0 || j.tooLong {
				select {
				case order <- j:
				case <-ctx.Done():
					return
				}
				todo <- j // never blocks for good: workers drain it until it closes
			} else {
				spare.Put(j)
			}
			if err != nil {
				if err != io.EOF {
					readErr = fmt.Errorf("filter: read: %w", err)
				}
				return
			}
		}
	}()
	out := bufio.NewWriterSize(w, 64<<10)
	err := func() error {
		for {
			var j *job
			var ok bool
			select {
			case j, ok = <-order:
			default:
				// Nothing waits: what is answered goes out now.
				if err := out.Flush(); err != nil {
					return fmt.Errorf("filter: write: %w", err)
				}
				select {
				case j, ok = <-order:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if !ok {
				return nil
			}
			select {
			case <-j.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if _, err := out.Write(j.answer); err != nil {
				return fmt.Errorf("filter: write: %w", err)
			}
			if cap(j.line) <= 1<<20 {
				spare.Put(j)
			}
		}
	}()
	if err != nil {
		cancel(err)
		return err
	}
	<-reading
	wg.Wait()
	if err := out.Flush(); err != nil {
		return fmt.Errorf("filter: write: %w", err)
	}
	return readErr
}

// readLine reads one line without its end; what exceeds limit is dropped.
func readLine(in *bufio.Reader, buf []byte, limit int) (line []byte, tooLong bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if !tooLong {
			if len(buf)+len(part) > limit+1 {
				tooLong, buf = true, buf[:0]
			} else {
				buf = append(buf, part...)
			}
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		for len(buf) > 0 && (buf[len(buf)-1] == '\n' || buf[len(buf)-1] == '\r' || buf[len(buf)-1] == ' ' || buf[len(buf)-1] == '\t') {
			buf = buf[:len(buf)-1]
		}
		return buf, tooLong, err
	}
}

// oneReading says whether every reader of line, which is a JSON object, takes the
// same text from it: encoding/json takes the last of several keys and any case,
// others the first and the exact one.
func oneReading(line []byte) bool {
	var seen [3]bool
	depth, key := 0, false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '{', '[':
			depth++
			key = depth == 1
		case '}', ']':
			depth--
		case ',':
			key = depth == 1
		case '"':
			from := i
			for i++; line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
			if !key {
				continue
			}
			key = false
			name := line[from+1 : i]
			if bytes.IndexByte(name, '\\') >= 0 {
				var s string
				if json.Unmarshal(line[from:i+1], &s) != nil {
					return false
				}
				name = []byte(s)
			}
			for k, want := range [...]string{"id", "text", "trust"} {
				if strings.EqualFold(string(name), want) {
					if string(name) != want || seen[k] {
						return false
					}
					seen[k] = true
				}
			}
		}
	}
	return true
}

var null = json.RawMessage("null")

// reply appends the answer to one line, and its line end. A detector that
// panics answers for itself only: the line is blocked.
func (o *FilterOptions) reply(j *job, dst []byte) (out []byte) {
	var req request
	refuse := func(why string) []byte {
		id := req.ID
		if len(id) == 0 {
			id = null
		}
		b, err := json.Marshal(refusal{id, why})
		if err != nil {
			b = []byte(`{"id":null,"error":"` + why + `"}`)
		}
		return append(append(dst, b...), '\n')
	}
	if j.tooLong {
		return refuse("line too long")
	}
	if !utf8.Valid(j.line) {
		return refuse("not UTF-8")
	}
	if err := json.Unmarshal(j.line, &req); err != nil {
		// The id may still be readable when another field has the wrong type.
		var only struct {
			ID json.RawMessage `json:"id"`
		}
		req.ID = nil
		if json.Unmarshal(j.line, &only) == nil {
			req.ID = only.ID
		}
		return refuse("not a JSON object with a string text")
	}
	if !oneReading(j.line) {
		return refuse("a key stands twice, or in another case")
	}
	if req.Text == nil {
		return refuse("no text")
	}
	trust := Tool
	if req.Trust != "" {
		t, ok := ParseTrust(req.Trust)
		if !ok {
			return refuse("trust is user, document or tool")
		}
		trust = t
	}
	defer func() {
		if recover() != nil {
			out = refuse("inspection failed")
		}
	}()
	v := o.Detector.Inspect(*req.Text, trust)
	d := v.Decision
	if o.Decide != nil {
		d = o.Decide(v, *req.Text)
	}
	a := answer{ID: req.ID, Confidence: v.Confidence, Decision: d, Families: v.Families, Rules: []string{}}
	if len(a.ID) == 0 {
		a.ID = null
	}
	if a.Families == nil {
		a.Families = []string{}
	}
	for _, f := range v.Findings {
		if !slices.Contains(a.Rules, f.Rule) {
			a.Rules = append(a.Rules, f.Rule)
		}
	}
	b, err := json.Marshal(a)
	if err != nil {
		return refuse("inspection failed")
	}
	return append(append(dst, b...), '\n')
}
