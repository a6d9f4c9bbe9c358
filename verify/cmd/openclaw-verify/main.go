// Command openclaw-verify checks offline what an audit log gives out.
package main

import (
	"os"

	"github.com/Nissimmiracles/openclaw/verify"
)

func main() { os.Exit(verify.Main("openclaw-verify", os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
