//go:build race

package prompt

// Under the race detector pools drop at random, and so allocate.
const racing = true
