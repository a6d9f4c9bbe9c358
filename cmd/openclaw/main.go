// Command openclaw runs AI agents for many tenants and proves what they did.
package main

import (
	"os"

	"github.com/Nissimmiracles/openclaw/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
