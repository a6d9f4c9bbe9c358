// Package faults takes things away from a running platform and then counts.
//
// Real openclaw processes serve on a private PostgreSQL that outlives them.
// Writers of every kind keep asking, whatever happens, and remember each answer;
// in the end every tenant's whole log is taken out as a bundle, verified
// offline, and held against those answers (verdict_test.go): nothing that was
// acknowledged is missing, nothing is there without its event, nothing reached
// the outside without an intent, and the reads that the log lacks are as many as
// it says.
//
// The normal suite does a few rounds. FAULT_ROUNDS and FAULT_SEED, or
// `make faults`, do as many as one likes.
package faults
