package good

import (
	"context"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

const (
	columns = "id, name"
	find    = "SELECT " + columns + " FROM users WHERE id = $1"
)

var steps = []string{"SELECT 1", find}

var all = "SELECT " + columns + " FROM users"

func good(ctx context.Context, conn *pgx.Conn, id string, u *url.URL) {
	conn.Query(ctx, find, id)
	conn.Query(ctx, all)
	conn.Query(ctx, "SELECT "+columns+" FROM users WHERE name = $1", "x"+id)
	conn.Exec(ctx, "UPDATE t SET a = $1", fmt.Sprintf("%s!", id))
	const local = "SELECT 1"
	conn.Query(ctx, local+" FROM t")
	sql := find
	conn.Query(ctx, sql, id)
	u.Query()
	helper(ctx, conn, find)
	conn.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{id}.Sanitize())
	name := pgx.Identifier{id}.Sanitize()
	for _, statement := range []string{find, "SELECT 2"} {
		conn.Exec(ctx, statement)
	}
	for _, statement := range steps {
		conn.Exec(ctx, statement)
	}
	conn.Exec(ctx, steps[len(id)])
	number := func(text string) { conn.Exec(ctx, text) }
	number(find)
	number("SELECT 3")
	statement := "SELECT 1"
	if id != "" {
		statement += " WHERE id = $1"
	}
	conn.Exec(ctx, statement, id)
	conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER x")
	//sqllint:allow the role's name was checked against a list of two
	conn.Exec(ctx, "SET ROLE "+id)
	var b pgx.Batch
	b.Queue(find, id)
}

func helper(ctx context.Context, conn *pgx.Conn, sql string) {
	conn.Exec(ctx, sql)
}
