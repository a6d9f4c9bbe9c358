// Command run measures CPU per proxied request; see package httpbench.
package main

import "github.com/Nissimmiracles/openclaw/internal/gateway/upstream/httpbench"

func main() { httpbench.Main() }
