//go:build tools

// Package tools keeps pebble in go.mod.
package tools

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"
