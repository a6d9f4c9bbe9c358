// Command addlog tells a stopped litewitness of a log and its key:
// addlog DB ORIGIN VKEY [VKEY...]
package main

import (
	"log"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const emptyRoot = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

func main() {
	db, err := sqlite.OpenConn(os.Args[1], 0)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	exec := func(query string, args ...any) {
		if err := sqlitex.Execute(db, query, &sqlitex.ExecOptions{Args: args}); err != nil {
			log.Fatal(err)
		}
	}
	// litewitness's own schema, which it also creates when missing.
	exec(`CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)`)
	exec(`CREATE TABLE IF NOT EXISTS key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))`)
	exec(`INSERT OR IGNORE INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)`, os.Args[2], emptyRoot)
	for _, vkey := range os.Args[3:] {
		exec(`INSERT INTO key (origin, key) VALUES (?, ?)`, os.Args[2], vkey)
	}
}
