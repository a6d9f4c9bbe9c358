package verify

import (
	"bufio"
	"compress/gzip"
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
	set := flag.NewFlagSet("openclaw-verify", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprintln(stderr, "usage: openclaw-verify [flags] FILE   (- for standard input)")
		set.PrintDefaults()
	}
	file := func(name, about string, put func(string)) {
		set.Func(name, about, func(s string) error {
			b, err := os.ReadFile(s)
			if err != nil && strings.Count(s, "+") >= 2 { // a key as it stands
				b, err = []byte(s), nil
			}
			put(string(b))
			return err
		})
	}
	file("key", "the log's verifier `key`, or a file with it", func(s string) { o.Key = s })
	file("since", "`file` with an earlier checkpoint that you kept", func(s string) { o.Since = s })
	file("checkpoint", "`file` with the checkpoint that covers an export", func(s string) { o.Checkpoint = s })
	file("house-key", "the house log's verifier `key`, or a file with it", func(s string) { o.HouseKey = s })
	file("witness", "a witness's verifier `key`, or a file with it; repeat for more", func(s string) { o.Witnesses = append(o.Witnesses, s) })
	set.IntVar(&o.Quorum, "quorum", -1, "how many witnesses must have signed (default all given)")
	asJSON := set.Bool("json", false, "report as JSON")
	if set.Parse(args) != nil {
		return 2
	}
	if set.NArg() != 1 {
		set.Usage()
		return 2
	}
	if o.Quorum < 0 {
		o.Quorum = len(o.Witnesses)
	}
	r, err := verifyFile(set.Arg(0), stdin, o)
	if err != nil {
		fmt.Fprintln(stderr, "openclaw-verify:", err)
		return 2
	}
	if *asJSON {
		_ = json.NewEncoder(stdout).Encode(r)
	} else {
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

func verifyFile(name string, stdin io.Reader, o Options) (*Report, error) {
	if name == "-" {
		return Verify(stdin, o)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if start, _ := in.Peek(2); string(start) == "\x1f\x8b" { // compressed, as the archive has them
		gz, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		return Verify(gz, o)
	}
	return Verify(in, o)
}

// String is the report for people.
func (r *Report) String() string {
	lines := []string{"log       " + r.Origin, fmt.Sprint("records   ", r.Size), "root      " + r.Root}
	for i, list := range [][]string{r.Checked, r.Missing, r.Unchecked} {
		for _, item := range list {
			lines = append(lines, [...]string{"checked   ", "MISSING   ", "unchecked "}[i]+item)
		}
	}
	if w := r.Wrong; w != nil && w.Seq == 0 {
		lines = append(lines, fmt.Sprintf("WRONG     %s: %s", w.Check, w.Why))
	} else if w != nil {
		lines = append(lines, fmt.Sprintf("WRONG     record %d to %d: %s: %s", w.Seq, max(w.Seq, w.Last), w.Check, w.Why))
	}
	return strings.Join(lines, "\n") + "\n"
}
