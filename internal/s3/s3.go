// Package s3 keeps the audit log's archive in a bucket of S3 or of anything
// that speaks its protocol, under object lock in mode COMPLIANCE: until its
// date nobody removes or changes a version, the account's root included.
//
// What the bucket has to allow: s3:GetBucketVersioning,
// s3:GetBucketObjectLockConfiguration, s3:ListBucketVersions, s3:PutObject,
// s3:PutObjectRetention, s3:GetObject, s3:GetObjectVersion and
// s3:GetObjectRetention. Nothing here deletes.
package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
)

const (
	callTime     = 20 * time.Second // of a call without a body
	transferTime = 90 * time.Second // of one with a segment
	answerTime   = 15 * time.Second // until a request's answer begins
	attempts     = 3
	longestPause = 2 * time.Second // between two of them
)

// Config names the bucket. Credentials come from the SDK's standard chain
// (environment, shared files, web identity, container and instance roles) or
// from CredentialsFile alone.
type Config struct {
	Bucket          string
	Endpoint        string // "": AWS's for the region
	Region          string
	Prefix          string // of every key, without slashes at its ends; "" none
	PathStyle       bool   // bucket in the path, not in the host's name
	CredentialsFile string // shared credentials file, its default profile
	CAs             *x509.CertPool
}

// bucketName: S3's rules for general purpose buckets, without the exceptions
// for reserved affixes, which the service itself refuses.
var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixName = regexp.MustCompile(`^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

// Problem is a value of a Config that cannot be: which one, why, and one that
// could.
type Problem struct{ Field, What, Example string }

func (p *Problem) Error() string { return p.Field + ": " + p.What + "; as in " + p.Example }

// Check judges the values without asking anybody.
func (c Config) Check() (problems []*Problem) {
	say := func(field, what, example string) { problems = append(problems, &Problem{field, what, example}) }
	if !bucketName.MatchString(c.Bucket) || strings.Contains(c.Bucket, "..") {
		say("BUCKET", fmt.Sprintf("%q is no bucket's name", c.Bucket), "openclaw-audit")
	}
	if !regionName.MatchString(c.Region) {
		say("REGION", fmt.Sprintf("%q is no region", c.Region), "eu-central-1")
	}
	if c.Prefix != "" && (!prefixName.MatchString(c.Prefix) || len(c.Prefix) > 200 || strings.Contains(c.Prefix, "..")) {
		say("PREFIX", "want letters, digits and slashes between them", "production/audit")
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		switch {
		case err != nil, u.Host == "", u.User != nil, u.RawQuery != "", u.Path != "" && u.Path != "/":
			say("ENDPOINT", "want https, a host and nothing more", "https://s3.example.com")
		case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
			say("ENDPOINT", "the audit log leaves this machine over https only", "https://s3.example.com")
		}
	}
	return problems
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Bucket is archive.Bucket over S3. It is safe for concurrent use. Close ends
// its idle connections.
type Bucket struct {
	client *s3.Client
	http   *http.Transport
	name   *string
	prefix string
}

// Open reads credentials and asks nobody else: Check does.
func Open(ctx context.Context, c Config) (*Bucket, error) {
	var errs []error
	for _, p := range c.Check() {
		errs = append(errs, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	b := &Bucket{name: &c.Bucket}
	if c.Prefix != "" {
		b.prefix = c.Prefix + "/"
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(c.Region),
		// Who reads compares digests of its own; bytes that changed are a finding,
		// not a fault of the connection.
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, longestPause })
		}),
	}
	if c.CredentialsFile != "" {
		options = append(options, config.WithSharedCredentialsFiles([]string{c.CredentialsFile}), config.WithSharedConfigFiles(nil), config.WithSharedConfigProfile("default"))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("read the bucket's credentials: %w", err)
	}
	b.http = transport(cfg, c.CAs)
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: b.http, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		o.UsePathStyle = c.PathStyle
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(strings.TrimSuffix(c.Endpoint, "/"))
		}
	})
	return b, nil
}

// Close ends idle connections. Closing twice is fine.
func (b *Bucket) Close() { b.http.CloseIdleConnections() }

// transport is the SDK's, which knows AWS_CA_BUNDLE, with our deadlines.
func transport(cfg aws.Config, cas *x509.CertPool) *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		t = c.GetTransport()
	}
	if cas != nil {
		t.TLSClientConfig.RootCAs = cas
	}
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout, t.ResponseHeaderTimeout, t.IdleConnTimeout = 5*time.Second, answerTime, 30*time.Second
	t.MaxConnsPerHost = 8
	t.DisableCompression = true // what is read back is what was put
	return t
}

// Check implements archive.Bucket.
func (b *Bucket) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	const what = "make a new bucket with object lock, which brings versioning: aws s3api create-bucket --bucket NAME --object-lock-enabled-for-bucket"
	v, err := b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: b.name})
	if err != nil {
		return b.explain("read the versioning of bucket "+*b.name, err)
	}
	if v.Status != types.BucketVersioningStatusEnabled {
		return fmt.Errorf("%w: %s keeps no versions; %s", archive.ErrUnfit, *b.name, what)
	}
	l, err := b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: b.name})
	if code(err) == "ObjectLockConfigurationNotFoundError" || err == nil && (l.ObjectLockConfiguration == nil || l.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled) {
		return fmt.Errorf("%w: %s has no object lock; %s", archive.ErrUnfit, *b.name, what)
	}
	return b.explain("read the object lock of bucket "+*b.name, err)
}
