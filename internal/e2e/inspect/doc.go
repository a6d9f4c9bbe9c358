// Package inspect attacks the inspection of the assembled platform over real
// HTTPS and a real PostgreSQL. It holds tests only.
package inspect
