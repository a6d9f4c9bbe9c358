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
	set := flag.NewFlagSet("openclaw-verify", flag.ContinueOnError)
	set.SetOutput(stderr)
	for name, to := range map[string]*string{"key": &o.Key, "since": &o.Since, "checkpoint": &o.Checkpoint, "house-key": &o.HouseKey} {
		set.Func(name, "see docs/AUDIT.md; a file, or for keys the key itself", func(s string) (err error) {
			*to, err = fileOr(s, strings.HasSuffix(name, "key"))
			return err
		})
	}
	set.Func("witness", "a witness key or a file with one; repeat for more", func(s string) error {
		key, err := fileOr(s, true)
		o.Witnesses = append(o.Witnesses, key)
		return err
	})
	set.IntVar(&o.Quorum, "quorum", -1, "how many witnesses must have signed (default: all given)")
	asJSON := set.Bool("json", false, "report as JSON")
	if set.Parse(args) != nil || set.NArg() != 1 {
		fmt.Fprintln(stderr, "usage: openclaw-verify [flags] FILE   (- for standard input)")
		return 2
	}
	if o.Quorum < 0 {
		o.Quorum = len(o.Witnesses)
	}
	in := stdin
	if name := set.Arg(0); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(stderr, "openclaw-verify:", err)
			return 2
		}
		defer f.Close()
		in = f
	}
	r, err := Verify(in, o)
	if err != nil {
		fmt.Fprintln(stderr, "openclaw-verify:", err)
		return 2
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		_ = e.Encode(r)
	} else {
		r.print(stdout)
	}
	switch {
	case r.Wrong != nil:
		return 1
	case len(r.Missing) > 0:
		return 3
	}
	return 0
}

// fileOr reads a file, or takes a key as it stands (its name has no file).
func fileOr(s string, key bool) (string, error) {
	b, err := os.ReadFile(s)
	if key && err != nil && strings.Count(s, "+") >= 2 {
		return s, nil
	}
	return string(b), err
}

func (r *Report) print(w io.Writer) {
	fmt.Fprintf(w, "log       %s\nrecords   %d\nroot      %s\n", r.Origin, r.Size, r.Root)
	for _, list := range []struct {
		title string
		items []string
	}{{"checked  ", r.Checked}, {"MISSING  ", r.Missing}, {"unchecked", r.Unchecked}} {
		for _, item := range list.items {
			fmt.Fprintf(w, "%s %s\n", list.title, item)
		}
	}
	if x := r.Wrong; x != nil {
		fmt.Fprintf(w, "WRONG     records %d-%d: %s: %s\n", x.Seq, max(x.Seq, x.Last), x.Check, x.Why)
	}
}
