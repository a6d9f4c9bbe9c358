package sink_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/sinktest"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/syslog"
	"github.com/Nissimmiracles/openclaw/internal/audit/sink/wire"
)

// A real rsyslog, over mutual TLS, where the machine has one with its OpenSSL
// driver: it takes every message as one, hostile ones too, reads the same header
// fields, and closes after our close, which is what Send waits for.
func TestRsyslog(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("rsyslogd")
	if err != nil {
		t.Skip("no rsyslogd here; it is in Debian's rsyslog and rsyslog-openssl")
	}
	drivers, _ := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_ossl.so")
	if len(drivers) == 0 {
		t.Skip("rsyslogd without its OpenSSL driver")
	}
	c := sinktest.NewCerts(t)
	dir, err := os.MkdirTemp("", "rsyslog-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = l.Close()
	out := filepath.Join(dir, "out")
	conf := filepath.Join(dir, "rsyslog.conf")
	text := fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="t" type="string" string="%%pri%%\t%%timestamp:::date-rfc3339%%\t%%hostname%%\t%%app-name%%\t%%msgid%%\t%%structured-data%%\t%%msg%%\n")
input(type="imtcp" port=%q address="127.0.0.1" ruleset="r")
ruleset(name="r") { action(type="omfile" file=%q template="t" asyncWriting="off" flushOnTXEnd="on") }
`, dir, c.CAFile, c.SrvCert, c.SrvKey, port, out)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "rsyslogd listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})

	evil := "a|b\\c=d\r\n<134>1 2026-01-01T00:00:00Z h a - - - forged\x00\x1b[2J é🙂"
	for _, f := range []syslog.Format{syslog.CEF, syslog.JSON} {
		s, err := syslog.Open(syslog.Config{
			Address: address, TLS: wire.TLS{CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, ServerName: "localhost"}, Format: f, Facility: 13,
			Host: "openclaw.example.com", App: "openclaw", Version: "0.1.0", SDID: "openclaw@32473", MaxMessage: 8192,
		})
		if err != nil {
			t.Fatal(err)
		}
		batch := items(200, func(e *audit.Entry) { e.Reason, e.Actor.ID, e.UserAgent = evil, evil, evil })
		if err := send(t, s, batch, 20*time.Second); err != nil {
			t.Fatalf("%s: %v\n%s", f, err, said.String())
		}
	}
	var rows []string
	eventually(t, "rsyslog has written everything", func() bool {
		rows = rows[:0]
		file, err := os.Open(out)
		if err != nil {
			return false
		}
		defer file.Close()
		for in := bufio.NewScanner(file); in.Scan(); {
			rows = append(rows, in.Text())
		}
		return len(rows) >= 400
	})
	if len(rows) != 400 {
		t.Fatalf("%d lines for 400 messages", len(rows))
	}
	for i, row := range rows {
		cells := strings.Split(row, "\t")
		if len(cells) != 7 || cells[0] != "108" || cells[2] != "openclaw.example.com" || cells[3] != "openclaw" || cells[4] != "LOGIN_FAILED" ||
			!strings.Contains(cells[5], fmt.Sprintf(`seq="%d"`, i%200+1)) {
			t.Fatalf("line %d: %q", i, cells)
		}
		msg := strings.TrimPrefix(strings.TrimPrefix(cells[6], " "), "\ufeff")
		if i < 200 {
			if _, ext, err := sinktest.ParseCEF(msg); err != nil || ext["cn1"] != fmt.Sprint(i+1) {
				t.Fatalf("line %d: %v: %q", i, err, msg)
			}
		} else if !strings.HasPrefix(msg, `{"tenant":`) || !strings.HasSuffix(msg, "}") {
			t.Fatalf("line %d: %q", i, msg)
		}
	}
	// Without a certificate of our own it takes nothing, and that is no success.
	s, err := syslog.Open(syslog.Config{Address: address, TLS: wire.TLS{CAFile: c.CAFile, ServerName: "localhost"}, Format: syslog.CEF, SDID: "openclaw@32473", App: "openclaw", MaxMessage: 8192})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t, s, items(1), 5*time.Second); err == nil {
		t.Error("rsyslog took a message from nobody")
	}
}
