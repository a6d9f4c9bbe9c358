package archive_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	opens3 "github.com/Nissimmiracles/openclaw/internal/s3"
)

// BenchmarkArchive archives segments of 32,768 events of the usual shape, from
// the database to the ledger, and reads them back and verifies them. The
// baseline beside it puts and gets the same bytes and does nothing else.
func BenchmarkArchive(b *testing.B) {
	w := newWorld(b)
	const segment, segments = 32_768, 4
	op := w.db.Operator(b)
	evs := make([]audit.Event, segment*segments)
	for i := range evs {
		evs[i] = audit.Event{
			Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", Resource: "memory/" + uuid.NewString(), RequestID: fmt.Sprintf("%032x", i),
			Actor: audit.Actor{Kind: audit.ActorUser, ID: uuid.NewString(), Name: "ada"}, IP: netip.MustParseAddr("203.0.113.9"), UserAgent: "bench/1",
		}
	}
	if _, err := w.room.RecordAll(b.Context(), evs); err != nil {
		b.Fatal(err)
	}
	if _, err := w.tenant.Log.Checkpoint(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := op.Exec(b.Context(), `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	var plain int64
	begun := time.Now()
	if err := w.tenant.Log.Bundle(b.Context(), counting(&plain), audit.Range{WithoutDisclosures: true}); err != nil {
		b.Fatal(err)
	}
	b.Logf("a bundle of all of it, not compressed: %.0f events/s", segment*segments/time.Since(begun).Seconds())
	scope := w.room.Scope()
	var took, moved, read time.Duration
	var events, size int64
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		// Each turn under a prefix of its own, with its ledger begun anew.
		if _, err := op.Exec(b.Context(), `SET session_replication_role = replica; DELETE FROM audit_segments; DELETE FROM audit_archive; SET session_replication_role = origin`); err != nil {
			b.Fatal(err)
		}
		cfg := w.server.Config(b, bucketName)
		cfg.Prefix = fmt.Sprint("turn", n)
		bucket := openBucket(b, cfg)
		w.bucket = bucket
		a := w.archiver(func(c *archive.Config) { c.Bucket, c.Limits = bucket, archive.DefaultLimits; c.Limits.Events = segment })
		begun := time.Now()
		p, err := a.Advance(b.Context(), archive.Tenant{ID: w.tenant.ID, Log: w.tenant.Log, Ledger: w.store.Archive(scope)})
		took += time.Since(begun)
		if err != nil || p.Events != segment*segments {
			b.Fatalf("%+v, %v", p, err)
		}
		events, size = events+p.Events, size+p.Bytes
		begun = time.Now()
		if r := w.verify(func(e *archive.Evidence) { e.Ledger = nil }); !r.Intact || r.To != segment*segments {
			b.Fatalf("%+v", r.Wrong)
		}
		read += time.Since(begun)
		body := w.fetch(archive.SegmentKey(w.tenant.ID, 1))
		begun = time.Now()
		for i := range int64(segments) {
			key := fmt.Sprint("plain/", i)
			if _, err := bucket.Put(b.Context(), archive.Object{Key: key, Body: body, Digest: sha256.Sum256(body), Until: time.Now().Add(time.Hour)}); err != nil {
				b.Fatal(err)
			}
			if !bytes.Equal(w.fetch(key), body) {
				b.Fatal("other bytes")
			}
		}
		moved += time.Since(begun)
	}
	b.ReportMetric(float64(events)/took.Seconds(), "events/s")
	b.ReportMetric(float64(plain)*float64(b.N)/1e6/took.Seconds(), "MB/s")
	b.ReportMetric(float64(size)/float64(events), "bytes/event")
	b.ReportMetric(float64(plain)/float64(segment*segments), "plain-bytes/event")
	b.ReportMetric(float64(events)/read.Seconds(), "verified/s")
	b.ReportMetric(took.Seconds()/moved.Seconds(), "x_put_and_get")
}

type countingWriter struct{ n *int64 }

func (c countingWriter) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }

func counting(n *int64) countingWriter { return countingWriter{n} }

func openBucket(b *testing.B, cfg opens3.Config) *opens3.Bucket {
	b.Helper()
	bucket, err := opens3.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bucket.Close)
	return bucket
}
