package bad

import (
	"context"
	"fmt"
	"strings"

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
