package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
	opens3 "github.com/Nissimmiracles/openclaw/internal/s3"
	"github.com/Nissimmiracles/openclaw/internal/s3/s3test"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func object(key, body string, until time.Time) archive.Object {
	return archive.Object{Key: key, Type: "text/plain", Body: []byte(body), Digest: sha256.Sum256([]byte(body)), Until: until, VKey: "a+b+c"}
}

func read(t testing.TB, b *opens3.Bucket, key, version string) string {
	t.Helper()
	o, err := b.Get(t.Context(), key, version)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	text, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	if o.VKey != "a+b+c" || o.Size != int64(len(text)) {
		t.Errorf("%+v", o)
	}
	return string(text)
}

func status(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// What the archive rests on: an object is put once, with its lock, and nobody,
// the account's root included, removes it, changes it or ends its lock early.
func TestWhatIsPutStays(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	server.Make(t, "audit", true)
	b, root, ctx := server.Open(t, "audit"), server.Client(), t.Context()
	if err := b.Check(ctx); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	v, err := b.Put(ctx, object("a/1", "first", until))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, "a/1", v); got != "first" {
		t.Errorf("read %q", got)
	}
	if locked, err := b.Locked(ctx, "a/1", v); err != nil || !locked.Equal(until) {
		t.Errorf("locked until %v, want %v: %v", locked, until, err)
	}
	if _, err := b.Put(ctx, object("a/1", "second", until)); !errors.Is(err, archive.ErrTaken) {
		t.Errorf("a second put: %v", err)
	}
	if err := b.Lock(ctx, "a/1", v, until.Add(time.Hour)); err != nil {
		t.Errorf("prolong the lock: %v", err)
	}

	name, key := aws.String("audit"), aws.String("test/audit/a/1")
	_, err = root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: key, VersionId: &v})
	if status(err) != http.StatusForbidden {
		t.Errorf("delete the version: %v", err)
	}
	_, err = root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: key, VersionId: &v, BypassGovernanceRetention: aws.Bool(true)})
	if status(err) != http.StatusForbidden {
		t.Errorf("delete the version past governance: %v", err)
	}
	for _, r := range []types.ObjectLockRetention{
		{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(time.Now().Add(time.Hour))},
		{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: aws.Time(until.Add(time.Hour))},
	} {
		_, err = root.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{Bucket: name, Key: key, VersionId: &v, Retention: &r, BypassGovernanceRetention: aws.Bool(true)})
		if status(err) != http.StatusForbidden {
			t.Errorf("%s until %v: %v", r.Mode, r.RetainUntilDate, err)
		}
	}
	// What the service lets him do: put a version over ours, and a mark of
	// deletion over that. Both show, and ours is under them.
	if _, err := root.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: key, Body: strings.NewReader("other")}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: key}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a/1", ""); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("get a deleted object: %v", err)
	}
	var seen []string
	for v, err := range b.Versions(ctx, "a/") {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintln(v.Key, v.Latest, v.Deleted, v.Size))
	}
	if got := strings.Join(seen, ""); got != "a/1 true true 0\na/1 false false 5\na/1 false false 5\n" {
		t.Errorf("versions: %s", got)
	}
	if got := read(t, b, "a/1", v); got != "first" {
		t.Errorf("ours reads %q", got)
	}
	if locked, err := b.Locked(ctx, "a/1", v); err != nil || !locked.Equal(until.Add(time.Hour)) {
		t.Errorf("locked until %v: %v", locked, err)
	}
}

func TestBucketsThatAreNotFit(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	server.Make(t, "audit", true)
	server.Make(t, "plain", false)
	for name, c := range map[string]struct {
		change func(*opens3.Config)
		want   error
		words  string
	}{
		"no lock":     {func(c *opens3.Config) { c.Bucket = "plain" }, archive.ErrUnfit, "--object-lock-enabled-for-bucket"},
		"no bucket":   {func(c *opens3.Config) { c.Bucket = "nowhere" }, archive.ErrUnfit, "AUDIT_S3_BUCKET"},
		"wrong key":   {func(c *opens3.Config) { c.CredentialsFile = s3test.Credentials(t, "openclaw-test", "wrong-secret") }, archive.ErrUnfit, "credentials"},
		"nobody":      {func(c *opens3.Config) { c.CredentialsFile = s3test.Credentials(t, "nobody", "wrong-secret") }, archive.ErrUnfit, "credentials"},
		"no server":   {func(c *opens3.Config) { c.Endpoint = "http://127.0.0.1:1" }, archive.ErrAway, "away"},
		"as it's due": {func(*opens3.Config) {}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := server.Config(t, "audit")
			c.change(&cfg)
			b, err := opens3.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			err = b.Check(t.Context())
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the secret: %v", err)
			}
			if c.want != nil {
				return
			}
			if _, err := b.Get(t.Context(), "a", ""); !errors.Is(err, archive.ErrMissing) {
				t.Errorf("get: %v", err)
			}
			if _, err := b.Get(t.Context(), "a", "no-such-version"); err == nil || errors.Is(err, archive.ErrAway) {
				t.Errorf("get a version that is not: %v", err)
			}
			for _, err := range b.Versions(t.Context(), "a") {
				t.Errorf("list: %v", err)
			}
			// A body that is not what its digest says is not stored.
			o := object("b", "body", time.Now().Add(time.Hour))
			o.Digest[0]++
			if _, err := b.Put(t.Context(), o); err == nil {
				t.Error("a body that does not fit its digest was stored")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := b.Check(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, archive.ErrAway) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

// More versions than a page has, in the order that the archive goes by.
func TestVersionsPageByPage(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	server.Make(t, "audit", true)
	b, root, ctx := server.Open(t, "audit"), server.Client(), t.Context()
	const keys, each = 112, 8 // and one mark each: 1008 entries, pages of 1000
	for k := range keys {
		for range each {
			if _, err := root.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("audit"), Key: aws.String(fmt.Sprintf("test/audit/k/%04d", k)), Body: bytes.NewReader(nil)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("audit"), Key: aws.String(fmt.Sprintf("test/audit/k/%04d", k))}); err != nil {
			t.Fatal(err)
		}
	}
	n, last := 0, ""
	for v, err := range b.Versions(ctx, "k/") {
		if err != nil {
			t.Fatal(err)
		}
		if v.Key < last {
			t.Errorf("%s after %s", v.Key, last)
		}
		if first := v.Key != last; first != v.Latest || first != v.Deleted {
			t.Errorf("%+v, first of its key: %v", v, first)
		}
		last = v.Key
		n++
	}
	if n != keys*(each+1) {
		t.Errorf("%d versions", n)
	}
}

func TestValuesThatCannotBe(t *testing.T) {
	t.Parallel()
	good := opens3.Config{Bucket: "audit", Region: "eu-central-1", Endpoint: "https://s3.example.com", Prefix: "a/b"}
	if p := good.Check(); len(p) != 0 {
		t.Fatalf("%v", p)
	}
	for name, change := range map[string]func(*opens3.Config){
		"BUCKET":   func(c *opens3.Config) { c.Bucket = "Audit_Log" },
		"REGION":   func(c *opens3.Config) { c.Region = "" },
		"PREFIX":   func(c *opens3.Config) { c.Prefix = "/a/" },
		"ENDPOINT": func(c *opens3.Config) { c.Endpoint = "http://s3.example.com" },
	} {
		c := good
		change(&c)
		if p := c.Check(); len(p) != 1 || p[0].Field != name || !strings.Contains(p[0].Error(), "as in ") {
			t.Errorf("%s: %v", name, p)
		}
		if _, err := opens3.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for _, endpoint := range []string{"https://user:pass@s3.example.com", "https://s3.example.com/path", "s3.example.com", "https://", "http://10.0.0.1:9000", "ftp://localhost"} {
		c := good
		c.Endpoint = endpoint
		if p := c.Check(); len(p) != 1 {
			t.Errorf("%s: %v", endpoint, p)
		}
	}
	for _, prefix := range []string{"a//b", "../a", "a/../b", "a b", strings.Repeat("a", 201)} {
		c := good
		c.Prefix = prefix
		if p := c.Check(); len(p) != 1 {
			t.Errorf("%s: %v", prefix, p)
		}
	}
	for _, endpoint := range []string{"", "http://localhost:7070", "http://127.0.0.1:7070", "http://[::1]:7070/"} {
		c := good
		c.Endpoint = endpoint
		if p := c.Check(); len(p) != 0 {
			t.Errorf("%s: %v", endpoint, p)
		}
	}
}
