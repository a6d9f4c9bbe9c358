// Package s3test gives a test a real S3 server with object lock: versitygw,
// built on demand from the module in internal/testservers, on loopback.
package s3test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	opens3 "github.com/Nissimmiracles/openclaw/internal/s3"
)

// Region is the servers'; every bucket is in it.
const Region = "us-east-1"

// buildTime is generous: a first build compiles some 900 packages.
const buildTime = 8 * time.Minute

var build = sync.OnceValues(binary)

// binary builds versitygw once for a version of its module and of Go, beside
// Go's own build cache, so that whoever keeps that between runs keeps this.
func binary() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), "..", "..", "testservers", "versitygw")
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	io.WriteString(sum, runtime.Version()+runtime.GOARCH)
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's build cache: %w", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "openclaw-testservers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "versitygw-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644) // of test binaries side by side, one builds
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path+".new", "github.com/versity/versitygw/cmd/versitygw")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw: %w: %s", err, text)
	}
	return path, os.Rename(path+".new", path)
}

// Server is a running versitygw. Stop and Start can follow each other: what it
// holds is in its folder.
type Server struct {
	Endpoint       string
	Access, Secret string

	dir, addr string
	cmd       *exec.Cmd
	exited    chan struct{}
}

// New starts a server for the test. Where it cannot be built the test is
// skipped, except in CI, which has to run it.
func New(t testing.TB) *Server {
	t.Helper()
	if _, err := build(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Access: "openclaw-test", Secret: "openclaw-test-secret", dir: t.TempDir(), addr: l.Addr().String()}
	_ = l.Close()
	s.Endpoint = "http://" + s.addr
	for _, d := range []string{"data", "versions"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Start starts it again where it was, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(path, "--port", s.addr, "--region", Region, "--quiet", "--keep-alive", "posix", "--versioning-dir", filepath.Join(s.dir, "versions"), filepath.Join(s.dir, "data"))
	s.cmd.Env = []string{"ROOT_ACCESS_KEY=" + s.Access, "ROOT_SECRET_KEY=" + s.Secret, "PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		runtime.LockOSThread() // Pdeathsig follows the thread that forked
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(exited)
	}(s.cmd, s.exited)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	// Polls, for nobody signals this; and asks for an answer, for a socket that
	// takes a connection may still drop it.
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(20 * time.Second); ; {
		if r, err := client.Get(s.Endpoint); err == nil {
			_ = r.Body.Close()
			return
		}
		select {
		case <-s.exited:
			t.Fatalf("versitygw ended: %s", s.log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("versitygw does not answer: %s", s.log())
		}
	}
}

func (s *Server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Stop kills it. Stopping twice is fine.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-s.exited
}

// Damage changes the latest version of an object on the disk, and Remove takes
// all its versions away: what no lock keeps the disk's owner from.
func (s *Server) Damage(t testing.TB, bucket, key string) {
	t.Helper()
	path := filepath.Join(s.dir, "data", bucket, key)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // in place: attributes stay
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// Remove is Damage's worse kin.
func (s *Server) Remove(t testing.TB, bucket, key string) {
	t.Helper()
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	for _, path := range []string{
		filepath.Join(s.dir, "data", bucket, key),
		filepath.Join(s.dir, "versions", bucket, name[:2], name[2:4], name[4:6], name), // versitygw's layout
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// Client is an S3 client of whoever holds the bucket's root credentials: what a
// lock must hold against.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		Region: Region, BaseEndpoint: &s.Endpoint, UsePathStyle: true, RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: credentials.NewStaticCredentialsProvider(s.Access, s.Secret, ""),
	})
}

// Make makes a bucket, with object lock or without.
func (s *Server) Make(t testing.TB, name string, lock bool) {
	t.Helper()
	if _, err := s.Client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(lock)}); err != nil {
		t.Fatal(err)
	}
}

// Config is our side's, with credentials in a file of their own.
func (s *Server) Config(t testing.TB, bucket string) opens3.Config {
	t.Helper()
	return opens3.Config{
		Bucket: bucket, Endpoint: s.Endpoint, Region: Region, Prefix: "test/audit", PathStyle: true,
		CredentialsFile: Credentials(t, s.Access, s.Secret),
	}
}

// Credentials writes a shared credentials file.
func Credentials(t testing.TB, access, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, secret)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Open opens a bucket that Make made.
func (s *Server) Open(t testing.TB, bucket string) *opens3.Bucket {
	t.Helper()
	b, err := opens3.Open(t.Context(), s.Config(t, bucket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
