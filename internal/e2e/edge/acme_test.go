package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/app"
	"github.com/Nissimmiracles/openclaw/internal/testservers"
)

// `openclaw serve` gets its own certificate from an authority of the operator's,
// by a challenge on the port it serves, though that port takes nobody without a
// client certificate. The challenge's protocol opens no other door.
func TestServeObtainsItsCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	port, err := app.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	const name = "api.openclaw-test.com"
	pebble := testservers.StartPebble(t, certFile, port, time.Hour)
	p := w.spawn(t, map[string]string{
		"PORT": strconv.Itoa(port), "TLS_CERT_FILE": "", "TLS_KEY_FILE": "", "CLIENT_CERTS": "required",
		"ACME_DOMAINS": name, "ACME_AGREED": "true", "ACME_EMAIL": "ops@openclaw-test.com", "ACME_DIRECTORY": pebble.Directory, "ACME_CA_FILE": ca.File(),
		"DATA_DIR": filepath.Join(w.dir, "data"),
	})
	cert := clientCert(t, "tenant/nobody")
	shown := func(c *tls.Certificate) (*x509.Certificate, int, error) {
		conf := &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // the authority's root is made anew each time
		if c != nil {
			conf.GetClientCertificate = present(c)
		}
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
		resp, err := client.Get("https://" + p.addr + "/livez")
		if err != nil {
			return nil, 0, err
		}
		defer resp.Body.Close()
		return resp.TLS.PeerCertificates[0], resp.StatusCode, nil
	}
	var leaf *x509.Certificate
	until(t, "openclaw serves its certificate", func() bool {
		l, status, err := shown(&cert)
		leaf = l
		return err == nil && status == 200
	})
	if leaf.VerifyHostname(name) != nil || !strings.Contains(leaf.Issuer.CommonName, "Pebble") {
		t.Errorf("it serves %v by %v", leaf.DNSNames, leaf.Issuer)
	}
	if _, status, err := shown(nil); err == nil {
		t.Errorf("without a client certificate it answers %d", status)
	}
	for _, protos := range [][]string{{"acme-tls/1"}, {"acme-tls/1", "http/1.1"}, {"acme-tls/1", "h2"}} {
		c, err := tls.Dial("tcp", p.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protos}) //nolint:gosec // as above
		if err != nil {
			continue // no challenge is under way
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
		text, err := io.ReadAll(c)
		if len(text) > 0 || errors.Is(err, io.EOF) {
			t.Errorf("offering %q without a client certificate: %.100s %v", protos, text, err)
		}
		_ = c.Close()
	}
}
