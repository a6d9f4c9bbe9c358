package verify

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Main is the command openclaw-verify. It returns the exit code: 0 all that was
// asked holds, 1 something is wrong, 2 nothing could be judged, 3 nothing is
// wrong but the file cannot answer all that was asked.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var o Options
	set := flag.NewFlagSet("openclaw-verify [flags] FILE (- for standard input)", flag.ContinueOnError)
	set.SetOutput(stderr)
	text := func(name, about string, put func(string)) {
		set.Func(name, about, func(s string) error {
			b, err := os.ReadFile(s)
			if err != nil && strings.Count(s, "+") >= 2 { // a key as it stands
				b, err = []byte(s), nil
			}
			put(string(b))
			return err
		})
	}
	text("key", "the log's verifier `key`, or a file with it", func(s string) { o.Key = s })
	text("since", "`file` with an earlier checkpoint that you kept", func(s string) { o.Since = s })
	text("checkpoint", "`file` with the checkpoint that covers an export", func(s string) { o.Checkpoint = s })
	text("house-key", "the house log's verifier `key`, or a file with it", func(s string) { o.HouseKey = s })
	text("witness", "a witness's verifier `key`, or a file with it; repeat for more", func(s string) { o.Witnesses = append(o.Witnesses, s) })
	set.IntVar(&o.Quorum, "quorum", -1, "how many witnesses must have signed (default all given)")
	asJSON := set.Bool("json", false, "report as JSON")
	if set.Parse(args) != nil {
		return 2
	} else if set.NArg() != 1 {
		set.Usage()
		return 2
	}
	if o.Quorum < 0 {
		o.Quorum = len(o.Witnesses)
	}
	var r *Report
	var f *os.File
	var err error
	if name := set.Arg(0); name != "-" {
		if f, err = os.Open(name); err == nil {
			defer f.Close()
			stdin = f
		}
	}
	if err == nil {
		r, err = Verify(stdin, o)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "openclaw-verify:", err)
		return 2
	case *asJSON:
		_ = json.NewEncoder(stdout).Encode(r)
	default:
		_, _ = io.WriteString(stdout, r.String())
	}
	switch {
	case r.Wrong != nil:
		return 1
	case len(r.Missing) > 0:
		return 3
	}
	return 0
}

// String is the report for people.
func (r *Report) String() string {
	s := fmt.Sprintf("log       %s\nrecords   %d\nroot      %s\n", r.Origin, r.Size, r.Root)
	for i, list := range [][]string{r.Checked, r.Missing, r.Unchecked} {
		for _, item := range list {
			s += [...]string{"checked   ", "MISSING   ", "unchecked "}[i] + item + "\n"
		}
	}
	if w := r.Wrong; w != nil && w.Seq == 0 {
		s += fmt.Sprintf("WRONG     %s: %s\n", w.Check, w.Why)
	} else if w != nil {
		s += fmt.Sprintf("WRONG     record %d to %d: %s: %s\n", w.Seq, max(w.Seq, w.Last), w.Check, w.Why)
	}
	return s
}
