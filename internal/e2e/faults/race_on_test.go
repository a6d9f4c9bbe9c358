//go:build race

package faults

// raced: with the race detector everything takes several times as long.
const raced = true
