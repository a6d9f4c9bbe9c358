//go:build tools

// Package tools keeps litewitness in go.mod.
package tools

import _ "filippo.io/torchwood/cmd/litewitness"
