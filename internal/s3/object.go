package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's Content-MD5, beside SHA-256
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
)

// metaKey is the metadata that holds the log's verifier key: x-amz-meta-vkey.
const metaKey = "vkey"

// Put implements archive.Bucket. The lock is set with the object, never after
// it: there is no moment in which it could be removed.
func (b *Bucket) Put(ctx context.Context, o archive.Object) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	sum := md5.Sum(o.Body)
	in := &s3.PutObjectInput{
		Bucket: b.name, Key: aws.String(b.prefix + o.Key), Body: bytes.NewReader(o.Body), ContentLength: aws.Int64(int64(len(o.Body))),
		ContentType: &o.Type, ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(o.Digest[:])),
		ObjectLockMode: types.ObjectLockModeCompliance, ObjectLockRetainUntilDate: aws.Time(o.Until.UTC()),
		Metadata: map[string]string{metaKey: o.VKey}, IfNoneMatch: aws.String("*"),
	}
	if o.Over {
		in.IfNoneMatch = nil
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", b.explain("put "+o.Key, err)
	}
	if aws.ToString(out.VersionId) == "" || *out.VersionId == "null" {
		return "", fmt.Errorf("%w: %s was stored without a version; is versioning suspended?", archive.ErrUnfit, o.Key)
	}
	return *out.VersionId, nil
}

// Get implements archive.Bucket.
func (b *Bucket) Get(ctx context.Context, key, version string) (archive.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	in := &s3.GetObjectInput{Bucket: b.name, Key: aws.String(b.prefix + key)}
	if version != "" {
		in.VersionId = &version
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		cancel()
		return archive.Stored{}, b.explain("get "+key, err)
	}
	return archive.Stored{
		Version: aws.ToString(out.VersionId), VKey: out.Metadata[metaKey], Size: aws.ToInt64(out.ContentLength),
		Body: &body{out.Body, cancel, b},
	}, nil
}

// body ends its deadline with itself, and gives its errors our names.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
	b      *Bucket
}

func (r *body) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = r.b.explain("read an object", err)
	}
	return n, err
}

func (r *body) Close() error {
	defer r.cancel()
	return r.ReadCloser.Close()
}

// Locked implements archive.Bucket. A lock in mode GOVERNANCE, which some may
// lift, counts as none.
func (b *Bucket) Locked(ctx context.Context, key, version string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := b.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: b.name, Key: aws.String(b.prefix + key), VersionId: &version})
	if code(err) == "NoSuchObjectLockConfiguration" {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, b.explain("read the lock of "+key, err)
	}
	if out.Retention == nil || out.Retention.Mode != types.ObjectLockRetentionModeCompliance {
		return time.Time{}, nil
	}
	return aws.ToTime(out.Retention.RetainUntilDate), nil
}

// Lock implements archive.Bucket.
func (b *Bucket) Lock(ctx context.Context, key, version string, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := b.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: b.name, Key: aws.String(b.prefix + key), VersionId: &version,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(until.UTC())},
	})
	return b.explain("lock "+key, err)
}

// Versions implements archive.Bucket.
func (b *Bucket) Versions(ctx context.Context, prefix string) iter.Seq2[archive.Version, error] {
	return func(yield func(archive.Version, error) bool) {
		var last archive.Version // some servers repeat it on the next page
		in := &s3.ListObjectVersionsInput{Bucket: b.name, Prefix: aws.String(b.prefix + prefix)}
		for {
			page, err := b.list(ctx, in)
			if err != nil {
				yield(archive.Version{}, err)
				return
			}
			for _, v := range merge(page, b.prefix) {
				if v.Key == last.Key && v.ID == last.ID {
					continue
				}
				if last = v; !yield(v, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		}
	}
}

func (b *Bucket) list(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := b.client.ListObjectVersions(ctx, in)
	if err != nil {
		return nil, b.explain("list "+aws.ToString(in.Prefix), err)
	}
	return out, nil
}

// merge puts a page's versions and marks into one order: by key, the latest
// first. The SDK gives them as two lists, each in the service's order.
func merge(page *s3.ListObjectVersionsOutput, prefix string) []archive.Version {
	type timed struct {
		archive.Version
		at time.Time
	}
	var versions, marks []timed
	for _, v := range page.Versions {
		versions = append(versions, timed{archive.Version{
			Key: strings.TrimPrefix(aws.ToString(v.Key), prefix), ID: aws.ToString(v.VersionId), Latest: aws.ToBool(v.IsLatest), Size: aws.ToInt64(v.Size),
		}, aws.ToTime(v.LastModified)})
	}
	for _, v := range page.DeleteMarkers {
		marks = append(marks, timed{archive.Version{
			Key: strings.TrimPrefix(aws.ToString(v.Key), prefix), ID: aws.ToString(v.VersionId), Latest: aws.ToBool(v.IsLatest), Deleted: true,
		}, aws.ToTime(v.LastModified)})
	}
	out := make([]archive.Version, 0, len(versions)+len(marks))
	for len(versions) > 0 || len(marks) > 0 {
		if len(marks) == 0 || len(versions) > 0 && !before(marks[0].Version, marks[0].at, versions[0].Version, versions[0].at) {
			out, versions = append(out, versions[0].Version), versions[1:]
		} else {
			out, marks = append(out, marks[0].Version), marks[1:]
		}
	}
	return out
}

func before(a archive.Version, aAt time.Time, b archive.Version, bAt time.Time) bool {
	switch {
	case a.Key != b.Key:
		return a.Key < b.Key
	case a.Latest != b.Latest:
		return a.Latest
	}
	return aAt.After(bAt)
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// explain gives an answer of the service the archive's name for it. Words of
// the service stay in the text; the SDK keeps keys and signatures out of it.
func (b *Bucket) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var answer *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	kind := archive.ErrAway // no answer, or one that says later
	hint := ""
	switch c := code(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case status == http.StatusPreconditionFailed || c == "ConditionalRequestConflict":
		kind = archive.ErrTaken
	case c == "NoSuchBucket":
		kind, hint = archive.ErrUnfit, "; make it with object lock, or set AUDIT_S3_BUCKET"
	case c == "NoSuchKey" || c == "NoSuchVersion" || c == "MethodNotAllowed": // the last: the mark of a deletion
		kind = archive.ErrMissing
	case c == "RequestTimeTooSkewed":
		kind = archive.ErrClock
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound:
		kind, hint = archive.ErrUnfit, "; look at the credentials and at what they allow"
	case status == http.StatusMovedPermanently:
		kind, hint = archive.ErrUnfit, "; the bucket is in another region, set AUDIT_S3_REGION"
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && c != "BadDigest" && c != "IncompleteBody" && c != "RequestTimeout":
		kind = archive.ErrUnfit
	}
	return fmt.Errorf("%w: %s%s: %w", kind, what, hint, err)
}
