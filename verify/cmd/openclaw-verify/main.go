// Command openclaw-verify checks proof bundles, exports and checkpoints of an
// audit log, offline.
package main

import (
	"os"

	"github.com/Nissimmiracles/openclaw/verify"
)

func main() { os.Exit(verify.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
