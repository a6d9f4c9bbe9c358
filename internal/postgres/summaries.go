package postgres

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/tenant"
)

// A listing with a filter must not read a large log. Each row of audit_events
// carries the words that filters look for, each block of 256 numbers a Bloom
// filter over its rows' words and the range of their times; blocks that cannot
// hold what is asked for are passed over. All of it is made after the commit and
// proves nothing: what a listing shows is matched against the bodies.

// Facets are the fields that a query compares.
const (
	facetType = iota
	facetSeverity
	facetActor
	facetResource
	facetOutcome
	facetRequest
	facets
)

const (
	blockBits     = 13 // 1 KiB; 256 records have some 900 words, 1.3 % of the rest look like one of them
	blockHashes   = 5
	blockSize     = 256
	summaryBlocks = 64 // summarised in one transaction
)

// word is FNV-1a of facet and value, folded to 32 bits. It is stored: changing
// it hides old records from filters.
func word(facet int, value string) uint32 {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(facet)) * 1099511628211
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 1099511628211
	}
	return uint32(h>>32) ^ uint32(h)
}

// addWord sets a word's bits.
func addWord(bloom []byte, w uint32) {
	step := w*0x9e3779b1 | 1
	for range blockHashes {
		bit := w >> (32 - blockBits)
		bloom[bit/8] |= 0x80 >> (bit % 8) // as PostgreSQL orders the bits of a varbit
		w += step
	}
}

func bits(bloom []byte) pgtype.Bits {
	return pgtype.Bits{Bytes: bloom, Len: 1 << blockBits, Valid: true}
}

// wanted is a query's words: one of each list must be there.
func wanted(q audit.Query) (lists [][]uint32) {
	add := func(facet int, values ...string) {
		var list []uint32
		for _, v := range values {
			if v != "" {
				list = append(list, word(facet, v))
			}
		}
		if list != nil {
			lists = append(lists, list)
		}
	}
	add(facetActor, q.Actor)
	add(facetResource, q.Resource)
	add(facetOutcome, string(q.Outcome))
	add(facetRequest, q.RequestID)
	add(facetSeverity, texts(q.Severity)...)
	add(facetType, texts(q.Types)...)
	return lists
}

// masks are the Bloom filters of which a block must contain one; nil: any block
// may do. Many alternatives are not worth their comparison.
func masks(lists [][]uint32) []pgtype.Bits {
	const most = 16
	sets := [][]uint32{nil}
	for _, list := range lists {
		if len(sets)*len(list) > most {
			continue
		}
		var next [][]uint32
		for _, s := range sets {
			for _, w := range list {
				next = append(next, append(slices.Clone(s), w))
			}
		}
		sets = next
	}
	if len(sets[0]) == 0 {
		return nil
	}
	out := make([]pgtype.Bits, len(sets))
	for i, s := range sets {
		bloom := make([]byte, 1<<blockBits/8)
		for _, w := range s {
			addWord(bloom, w)
		}
		out[i] = bits(bloom)
	}
	return out
}

// mayHold reports whether a row's words leave room for what is wanted.
func mayHold(words []byte, lists [][]uint32) bool {
	if words == nil {
		return true
	}
	for _, list := range lists {
		found := false
		for i := 0; i+4 <= len(words) && !found; i += 4 {
			found = slices.Contains(list, binary.BigEndian.Uint32(words[i:]))
		}
		if !found {
			return false
		}
	}
	return true
}

// block is what a summary is made of.
type block struct {
	first, last *time.Time
	bloom       []byte
	unknown     bool
}

// summarise makes the summaries of the tenant's blocks that are complete. Whoever
// numbers does it; two who meet write the same.
func (s *Store) summarise(ctx context.Context, id tenant.ID) error {
	for {
		var next, complete int64
		err := queryOn(ctx, s.work, id, one(func(r pgx.Rows) error { return r.Scan(&next, &complete) }),
			`SELECT COALESCE((SELECT max(index) + 1 FROM audit_summaries WHERE tenant_id = $1), 0),
				COALESCE((SELECT (seq - 1) / 256 FROM audit_leaves WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1), 0)`, id.String())
		if err != nil || next >= complete {
			return err
		}
		end := min(complete, next+summaryBlocks)
		blocks := make([]block, end-next)
		err = queryOn(ctx, s.work, id, each(func(r pgx.Rows) error {
			var seq int64
			var first, last time.Time
			var words []byte
			if err := r.Scan(&seq, &first, &last, &words); err != nil {
				return err
			}
			blocks[(seq-1)/blockSize-next].add(first, last, words)
			return nil
		}), `SELECT l.seq, COALESCE(e.first_at, l.at), COALESCE(e.last_at, l.at), e.words
			FROM (SELECT seq, at, event_id FROM audit_leaves WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 OFFSET 0) l
			LEFT JOIN LATERAL (SELECT first_at, last_at, words FROM audit_events e WHERE e.tenant_id = $1 AND e.at = l.at AND e.id = l.event_id OFFSET 0) e ON true`,
			id.String(), next*blockSize, end*blockSize)
		if err != nil {
			return err
		}
		var index []int64
		var first, last []*time.Time
		var words []pgtype.Bits
		for i := range blocks {
			b := &blocks[i]
			index, first, last = append(index, next+int64(i)), append(first, b.first), append(last, b.last)
			if b.bloom == nil {
				b.bloom = make([]byte, 1<<blockBits/8)
			}
			w := bits(b.bloom)
			w.Valid = !b.unknown
			words = append(words, w)
		}
		err = queryOn(ctx, s.work, id, each(func(pgx.Rows) error { return nil }),
			`INSERT INTO audit_summaries (tenant_id, index, first_at, last_at, words)
			SELECT $1, * FROM unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::varbit[]) ON CONFLICT DO NOTHING`,
			id.String(), index, first, last, words)
		if err != nil {
			return err
		}
	}
}

func (b *block) add(first, last time.Time, words []byte) {
	if b.first == nil || first.Before(*b.first) {
		b.first = &first
	}
	if b.last == nil || last.After(*b.last) {
		b.last = &last
	}
	if words == nil {
		b.unknown = true
		return
	}
	if b.bloom == nil {
		b.bloom = make([]byte, 1<<blockBits/8)
	}
	for i := 0; i+4 <= len(words); i += 4 {
		addWord(b.bloom, binary.BigEndian.Uint32(words[i:]))
	}
}
