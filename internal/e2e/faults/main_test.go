package faults

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/Nissimmiracles/openclaw/internal/authn"
	"github.com/Nissimmiracles/openclaw/internal/authn/localca"
	"github.com/Nissimmiracles/openclaw/internal/authn/securefile"
	"github.com/Nissimmiracles/openclaw/internal/cli"
	"github.com/Nissimmiracles/openclaw/internal/identity/password"
)

// What every test shares: an authority, signing keys, one password's hash.
var (
	ca        *localca.CA
	certFile  string
	jwtFile   string
	auditFile string
	passhash  string
)

const goodPassword = "correct-horse-battery-staple-57"

// beOpenclaw makes the test binary openclaw: a real process, no second build.
const beOpenclaw = "FAULTS_BE_OPENCLAW"

func TestMain(m *testing.M) {
	if os.Getenv(beOpenclaw) != "" {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "openclaw-faults-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		return fail(err)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil {
		code = max(code, fail(fmt.Errorf("the tests ended and left: %w", err)))
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func prepare(dir string) (err error) {
	if ca, err = localca.Open(localca.Config{Dir: filepath.Join(dir, "ca")}); err != nil {
		return err
	}
	if certFile, err = ca.Server(); err != nil {
		return err
	}
	key, err := authn.GenerateSigningKey()
	if err != nil {
		return err
	}
	text, err := key.ExposePEM()
	if err != nil {
		return err
	}
	jwtFile = filepath.Join(dir, "jwt.pem")
	if err := securefile.Write(jwtFile, text); err != nil {
		return err
	}
	_, signing, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		return err
	}
	auditFile = filepath.Join(dir, "audit.pem")
	if err := securefile.Write(auditFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	hasher, err := password.NewHasher(password.Config{})
	if err != nil {
		return err
	}
	passhash, err = hasher.Hash(context.Background(), goodPassword)
	return err
}
