// Command gen turns the password list of the npm package
// @zxcvbn-ts/language-common into common.txt.gz: the most common passwords, the
// commonest first, one a line.
//
//	npm pack @zxcvbn-ts/language-common@4.1.3
//	tar xzf zxcvbn-ts-language-common-4.1.3.tgz
//	go run ./gen package/src/passwords.json common.txt.gz
//
// The list is MIT-licensed: see common.LICENSE beside it.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// keep is where ranks stop to mean much. It must stay below 65,536.
const keep = 30000

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen passwords.json common.txt.gz")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	seen := make(map[string]bool)
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p = strings.ToLower(p); p == "" || seen[p] || strings.ContainsAny(p, "\r\n") {
			continue
		}
		if len(seen) == keep {
			break
		}
		seen[p] = true
		if _, err := fmt.Fprintln(z, p); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}
