//go:build race

package edge

// raced: the race detector's shadow memory is several times the program's.
const raced = true
