//go:build !race

package inject

const racing = false
