package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/plane"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

const maxPage = 200

// The tenant is named in each WHERE as well: the policy is the wall, the
// predicate is what the planner uses the index for.
const documentColumns = `id, kind, COALESCE(parent, '00000000-0000-0000-0000-000000000000'), COALESCE(name, ''), body, tags, data, version, created_at, updated_at`

const getDocument = `SELECT ` + documentColumns + ` FROM documents WHERE tenant_id = $1 AND id = $2 AND kind = $3`

const listDocuments = `SELECT ` + documentColumns + ` FROM documents
	WHERE tenant_id = $1 AND kind = $2
	  AND ($3::uuid IS NULL OR parent = $3)
	  AND ($4::text IS NULL OR tags @> ARRAY[$4::text])
	  AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid))
	ORDER BY created_at DESC, id DESC LIMIT $7`

const searchDocuments = `SELECT ` + documentColumns + `, ts_rank_cd(words, q) AS score
	FROM documents, websearch_to_tsquery('english', $5) q
	WHERE tenant_id = $1 AND kind = $2
	  AND ($3::uuid IS NULL OR parent = $3)
	  AND ($4::text IS NULL OR tags @> ARRAY[$4::text])
	  AND words @@ q
	ORDER BY score DESC, created_at DESC, id DESC LIMIT $6`

type documents struct {
	s     *Store
	scope tenant.Scope
}

// Documents reads the documents of one tenant.
func (s *Store) Documents(scope tenant.Scope) plane.Documents { return documents{s, scope} }

// scanDocument reads ids as bytes: by their own Scan they would travel as text.
func scanDocument(r pgx.Rows, more ...any) (plane.Document, error) {
	var d plane.Document
	var data []byte
	into := append([]any{(*[16]byte)(&d.ID), &d.Kind, (*[16]byte)(&d.Parent), &d.Name, &d.Text, &d.Tags, &data, &d.Version, &d.Created, &d.Updated}, more...)
	err := r.Scan(into...)
	d.Data = json.RawMessage(data)
	return d, err
}

func (d documents) Get(ctx context.Context, kind string, id uuid.UUID) (doc plane.Document, err error) {
	err = d.s.query(ctx, d.scope, one(func(r pgx.Rows) (err error) {
		doc, err = scanDocument(r)
		return err
	}), getDocument, d.scope.ID().String(), [16]byte(id), kind)
	return doc, err
}

func (d documents) List(ctx context.Context, f plane.Filter) (plane.Page, error) {
	limit := pageSize(f.Limit)
	var at *time.Time
	var after *uuid.UUID
	if f.After != "" {
		t, id, err := readCursor(f.After)
		if err != nil {
			return plane.Page{}, err
		}
		at, after = &t, &id
	}
	var page plane.Page
	err := d.s.query(ctx, d.scope, each(func(r pgx.Rows) error {
		doc, err := scanDocument(r)
		page.Documents = append(page.Documents, doc)
		return err
	}), listDocuments, d.scope.ID().String(), f.Kind, uuidOrNil(f.Parent), nullable(f.Tag), at, after, limit+1)
	if err != nil {
		return plane.Page{}, err
	}
	if len(page.Documents) > limit {
		page.Documents = page.Documents[:limit]
		last := page.Documents[limit-1]
		page.Next = makeCursor(last.Created, last.ID)
	}
	return page, nil
}

func (d documents) Search(ctx context.Context, words string, f plane.Filter) ([]plane.Hit, error) {
	if strings.IndexByte(words, 0) >= 0 {
		return nil, fault.New(fault.Unprocessable, "the query holds a NUL character")
	}
	var hits []plane.Hit
	err := d.s.query(ctx, d.scope, each(func(r pgx.Rows) error {
		var score float32
		doc, err := scanDocument(r, &score)
		hits = append(hits, plane.Hit{Document: doc, Score: float64(score)})
		return err
	}), searchDocuments, d.scope.ID().String(), f.Kind, uuidOrNil(f.Parent), nullable(f.Tag), words, pageSize(f.Limit))
	return hits, err
}

func pageSize(n int) int {
	if n <= 0 {
		return 50
	}
	return min(n, maxPage)
}

func uuidOrNil(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// A cursor is the place of the last row: microseconds and id. It opens nothing:
// the tenant comes from the scope.
func makeCursor(t time.Time, id uuid.UUID) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(b, id[:]...))
}

func readCursor(s string) (time.Time, uuid.UUID, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 24 {
		return time.Time{}, uuid.Nil, fault.New(fault.Unprocessable, "the cursor is not one of ours; start again without it")
	}
	micro := int64(binary.BigEndian.Uint64(b))
	if micro < 0 || micro > 1<<52 {
		return time.Time{}, uuid.Nil, fault.New(fault.Unprocessable, "the cursor is not one of ours; start again without it")
	}
	return time.UnixMicro(micro).UTC(), uuid.UUID(b[8:24]), nil
}

type documentWriter struct{ tx *Tx }

const createDocument = `INSERT INTO documents (tenant_id, id, kind, parent, name, body, tags, data)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ` + documentColumns

func (w documentWriter) Create(ctx context.Context, d plane.Document) (doc plane.Document, err error) {
	err = w.tx.send(ctx, one(func(r pgx.Rows) (err error) {
		doc, err = scanDocument(r)
		return err
	}), createDocument, w.tx.scope.ID().String(), d.ID, d.Kind, uuidOrNil(d.Parent), nullable(d.Name), d.Text, tagsOf(d), dataOf(d))
	return doc, translate(err)
}

const updateDocument = `UPDATE documents SET parent = $5, name = $6, body = $7, tags = $8, data = $9,
	version = version + 1, updated_at = now()
	WHERE tenant_id = $1 AND id = $2 AND kind = $3 AND ($4::bigint = 0 OR version = $4)
	RETURNING ` + documentColumns

func (w documentWriter) Update(ctx context.Context, d plane.Document, ifVersion int64) (doc plane.Document, err error) {
	found := false
	err = w.tx.send(ctx, each(func(r pgx.Rows) (err error) {
		found = true
		doc, err = scanDocument(r)
		return err
	}), updateDocument, w.tx.scope.ID().String(), d.ID, d.Kind, ifVersion, uuidOrNil(d.Parent), nullable(d.Name), d.Text, tagsOf(d), dataOf(d))
	if err == nil && !found {
		err = w.missing(ctx, d.Kind, d.ID)
	}
	return doc, translate(err)
}

func (w documentWriter) Delete(ctx context.Context, kind string, id uuid.UUID, ifVersion int64) error {
	n, err := w.tx.exec(ctx, `DELETE FROM documents WHERE tenant_id = $1 AND id = $2 AND kind = $3 AND ($4::bigint = 0 OR version = $4)`,
		w.tx.scope.ID().String(), id, kind, ifVersion)
	if err == nil && n == 0 {
		err = w.missing(ctx, kind, id)
	}
	return translate(err)
}

// missing tells a wrong version from a document that is not there.
func (w documentWriter) missing(ctx context.Context, kind string, id uuid.UUID) error {
	var version int64
	err := w.tx.row(ctx, []any{&version}, `SELECT version FROM documents WHERE tenant_id = $1 AND id = $2 AND kind = $3`,
		w.tx.scope.ID().String(), id, kind)
	if err != nil {
		return err
	}
	return fault.New(fault.Stale, "the %s is at version %d by now; read it again", kind, version)
}

func tagsOf(d plane.Document) []string {
	if d.Tags == nil {
		return []string{}
	}
	return d.Tags
}

func dataOf(d plane.Document) []byte {
	if len(d.Data) == 0 {
		return []byte("{}")
	}
	return d.Data
}
