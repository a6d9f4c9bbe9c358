package httpbench

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// child is a server in a process of its own.
type child struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startChild starts a build of this program as one of its servers, this one
// where program is empty. It ends with its standard input, so it does not
// outlive us.
func startChild(program, role, upstream string, c certificate) (*child, error) {
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "HTTPBENCH_UPSTREAM="+upstream, "HTTPBENCH_CERT="+c.certFile, "HTTPBENCH_KEY="+c.keyFile)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ch := &child{cmd: cmd, in: in, out: bufio.NewReader(out)}
	line, err := ch.out.ReadString('\n')
	if err != nil {
		ch.stop()
		return nil, fmt.Errorf("it said nothing: %w", err)
	}
	ch.addr = strings.TrimSpace(line)
	return ch, nil
}

func (c *child) usage() (time.Duration, error) {
	if _, err := c.in.Write([]byte{'\n'}); err != nil {
		return 0, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(ns), err
}

func (c *child) stop() {
	_ = c.in.Close()
	done := make(chan struct{})
	go func() { _ = c.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		_ = c.cmd.Process.Kill()
		<-done
	}
}

// nginx is Debian's, in the foreground, with one worker.
type nginx struct {
	addr   string
	cmd    *exec.Cmd
	worker int
}

func startNginx(dir, echoAddr string, c certificate) (*nginx, error) {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New("nginx is not installed (apt-get install nginx-light)")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.Chmod(dir, 0o755); err != nil { // its worker is somebody else
		return nil, err
	}
	if err := os.WriteFile(conf, []byte(nginxConf(dir, addr, echoAddr, c)), 0o644); err != nil {
		return nil, err
	}
	n := &nginx{addr: addr, cmd: exec.Command(bin, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log"))}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n.worker = onlyChild(n.cmd.Process.Pid); n.worker == 0 {
			continue
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return n, nil
		}
	}
	n.stop()
	log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
	return nil, fmt.Errorf("nginx did not start: %s", log)
}

func onlyChild(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	f := strings.Fields(string(b))
	if err != nil || len(f) == 0 {
		return childByStat(pid)
	}
	n, _ := strconv.Atoi(f[0])
	return n
}

// childByStat looks through /proc where the kernel keeps no list of children.
func childByStat(pid int) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, d := range dirs {
		if f := statFields(d); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
			return n
		}
	}
	return 0
}

// statFields are those of /proc/PID/stat after the name: state, ppid, ...
func statFields(path string) []string {
	b, _ := os.ReadFile(path)
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return nil
	}
	return strings.Fields(string(b[i+1:]))
}

// usage is the worker's CPU time: by the scheduler's nanoseconds where it keeps
// them, by clock ticks (10 ms) elsewhere.
func (n *nginx) usage() (time.Duration, error) {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", n.worker)); err == nil {
		if f := strings.Fields(string(b)); len(f) == 3 {
			if ns, err := strconv.ParseInt(f[0], 10, 64); err == nil && ns > 0 {
				return time.Duration(ns), nil
			}
		}
	}
	f := statFields(fmt.Sprintf("/proc/%d/stat", n.worker))
	if len(f) < 13 {
		return 0, errors.New("read the worker's CPU time")
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	sys, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+sys) * 10 * time.Millisecond, errors.Join(err1, err2)
}

func (n *nginx) stop() {
	_ = n.cmd.Process.Signal(os.Interrupt) // a fast shutdown, workers included
	done := make(chan struct{})
	go func() { _ = n.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		_ = n.cmd.Process.Kill()
		<-done
	}
}

// certificate is a throw-away one for loopback.
type certificate struct {
	certFile, keyFile string
	pool              *x509.CertPool
}

func (c certificate) client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.pool, ServerName: "127.0.0.1"}
}

func writeCert(dir string) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, err
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return certificate{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, err
	}
	c := certificate{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.pool.AppendCertsFromPEM(certPEM)
	return c, errors.Join(
		os.WriteFile(c.certFile, certPEM, 0o644),
		os.WriteFile(c.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}
