// Package pgserver finds, installs and runs a private PostgreSQL server for
// one openclaw process on one machine.
//
// The server listens on a unix socket only, inside a folder that nobody but
// its own account can enter; there is no TCP port and therefore no password.
// It never outlives its parent: the kernel sends it SIGQUIT when this process
// dies, whichever way it dies. Durability settings (fsync, full page writes,
// synchronous commit, data checksums) are on and cannot be turned off here.
//
// One data folder holds:
//
//	pgserver.lock  flock'ed while a server lives; names the process that owns it
//	cluster/       PostgreSQL's data directory, owned by the server's account
//	run/           the socket
//	postgres.log   the server's own log; the previous one is postgres.log.1
//	relocated      only when the server's account cannot enter the data folder:
//	               a symbolic link to the folder that holds the three above
package pgserver
