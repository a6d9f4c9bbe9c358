// Package e2e attacks a whole platform over real HTTPS: a private PostgreSQL,
// two replicas on it, real tokens and client certificates. It holds tests only.
package e2e
