package bad

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	f "fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5"
)

const prefix = "SELECT * FROM users WHERE id = "

func bad(ctx context.Context, conn *pgx.Conn, id string, names []string) {
	conn.Query(ctx, "SELECT 1 WHERE id = '"+id+"'")              // want
	conn.QueryRow(ctx, fmt.Sprintf("SELECT 1 FROM t%s", id))     // want
	conn.Exec(ctx, prefix+id)                                    // want
	conn.Exec(ctx, (prefix + id))                                // want
	conn.Exec(ctx, strings.Join(names, ","))                     // want
	conn.Exec(ctx, strings.ReplaceAll(prefix, "users", id))      // want
	conn.Exec(ctx, strings.NewReplacer("a", id).Replace(prefix)) // want
	conn.Exec(ctx, string([]byte(id)))                           // want
	var b pgx.Batch
	b.Queue("DELETE FROM t WHERE id = " + id) // want
	conn.Prepare(ctx, "name", prefix+id)      // want

	sql := prefix + id
	conn.Query(ctx, sql) // want
	again := sql
	conn.Query(ctx, again) // want
	grown := "SELECT 1"
	grown += " WHERE a = " + id
	conn.Query(ctx, grown) // want
	var built strings.Builder
	built.WriteString(id)
	conn.Query(ctx, built.String()) // want

	helper(ctx, conn, "SELECT "+id)   // want
	outer(ctx, conn, prefix+names[0]) // want
	func() {
		conn.Exec(ctx, prefix+id) // want
	}()
	name := pgx.Identifier{id}.Sanitize()
	name = id
	conn.Exec(ctx, "DROP TABLE "+name) // want
	//sqllint:allow
	conn.Exec(ctx, prefix+id) // want
}

func helper(ctx context.Context, conn *pgx.Conn, sql string) {
	conn.Exec(ctx, sql)
}

func outer(ctx context.Context, conn *pgx.Conn, sql string) {
	helper(ctx, conn, sql)
}

var (
	grown  = "SELECT 1" // init makes it longer
	tables = []string{"a", "b"}
	byName = map[string]string{"a": "SELECT 1"}
	made   = template.Must(template.New("").Parse("SELECT {{.}}"))
	run    = func(ctx context.Context, conn *pgx.Conn, id string) {
		conn.Exec(ctx, "DELETE FROM t WHERE id = "+id) // want
	}
)

func init() {
	grown += " WHERE a"
	tables[0] = "c"
}

type runner interface {
	Exec(ctx context.Context, sql string, args ...any) error
	Run(ctx context.Context, sql string) error
}

type wrapper struct {
	conn *pgx.Conn
	sql  string
}

func (w wrapper) Run(ctx context.Context, sql string) error {
	_, err := w.conn.Exec(ctx, sql)
	return err
}

type name string

func (n name) Sanitize() string { return string(n) }

func build(id string) string { return "SELECT " + id }

func exec[T any](ctx context.Context, conn *pgx.Conn, sql string, _ T) { conn.Exec(ctx, sql) }

func sly(ctx context.Context, conn *pgx.Conn, db *sql.DB, r runner, w wrapper, id string, ids []string) {
	var buf bytes.Buffer
	made.Execute(&buf, id)
	conn.Exec(ctx, buf.String())                                         // want
	conn.Exec(ctx, build(id))                                            // want
	conn.Exec(ctx, w.sql)                                                // want
	conn.Exec(ctx, f.Sprintf("%s", id))                                  // want
	conn.Exec(ctx, fmt.Sprint("a", id))                                  // want
	conn.Exec(ctx, strings.Clone(id))                                    // want
	conn.Exec(ctx, ids[0])                                               // want
	conn.Exec(ctx, tables[0])                                            // want
	conn.Exec(ctx, grown)                                                // want
	conn.Exec(ctx, "x"+byName[id]+id)                                    // want
	conn.Exec(ctx, string(slices.Concat([]byte("SELECT "), []byte(id)))) // want
	conn.Exec(ctx, "DROP TABLE "+name(id).Sanitize())                    // want
	r.Exec(ctx, "SELECT "+id)                                            // want
	r.Run(ctx, "SELECT "+id)                                             // want
	w.Run(ctx, build(id))                                                // want
	exec(ctx, conn, "SELECT "+id, 1)                                     // want
	exec[int](ctx, conn, "SELECT "+id, 1)                                // want
	(conn.Exec)(ctx, "SELECT "+id)                                       // want
	(*pgx.Conn).Exec(conn, ctx, "SELECT "+id)                            // want
	do := conn.Exec                                                      // want
	do(ctx, "SELECT "+id)
	each(conn.Exec)                                                           // want
	db.Query("SELECT " + id)                                                  // want
	db.ExecContext(ctx, "SELECT "+id)                                         // want
	db.Prepare("SELECT " + id)                                                // want
	conn.PgConn().ExecParams(ctx, "SELECT "+id, nil, nil, nil, nil)           // want
	conn.PgConn().CopyTo(ctx, &buf, "COPY "+id+" TO STDOUT")                  // want
	b := &pgx.Batch{QueuedQueries: []*pgx.QueuedQuery{{SQL: "SELECT " + id}}} // want
	b.QueuedQueries[0].SQL = "SELECT " + id                                   // want
	for _, q := range ids {
		conn.Exec(ctx, q) // want
	}
	var scanned string
	f.Sscan(id, &scanned)
	conn.Exec(ctx, scanned) // want
	statement, _ := two(id)
	conn.Exec(ctx, statement) // want
	find := "SELECT " + id
	conn.Exec(ctx, find) // want
	func(text string) {
		conn.Exec(ctx, text) // want
	}("SELECT " + id)
	number := func(line string) { conn.Exec(ctx, line) }
	number("SELECT " + id) // want
	switch x := any(id).(type) {
	case string:
		conn.Exec(ctx, x) // want
	}
}

const find = "SELECT 1"

func each(func(context.Context, string, ...any)) {}

func two(id string) (string, error) { return id, nil }
