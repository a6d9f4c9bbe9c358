package authn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

// RFC 7638, section 3.1.
func TestThumbprintOfTheRFC(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	raw, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", p.ID())
	}
}

func encodePEM(t *testing.T, typ string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
}

func TestParseSigningKey(t *testing.T) {
	t.Parallel()
	key := testKeys()[0].key
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	good8 := encodePEM(t, "PRIVATE KEY", pkcs8, err)
	good1 := encodePEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	for name, text := range map[string][]byte{
		"pkcs8": good8, "pkcs1": good1, "text around": append([]byte("# our key\n"), append(good8, "\n\n"...)...),
		"crlf": bytes.ReplaceAll(good8, []byte("\n"), []byte("\r\n")),
	} {
		k, err := ParseSigningKey(text)
		if err != nil || k.Public().ID() != testKeys()[0].Public().ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
	exposed, err := testKeys()[0].ExposePEM()
	if err != nil || !bytes.Equal(exposed, good8) {
		t.Errorf("does not survive its own PEM: %v", err)
	}

	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	ecPEM := encodePEM(t, "EC PRIVATE KEY", ecDER, err)
	ec8, err := x509.MarshalPKCS8PrivateKey(ec)
	ec8PEM := encodePEM(t, "PRIVATE KEY", ec8, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed8, err := x509.MarshalPKCS8PrivateKey(ed)
	edPEM := encodePEM(t, "PRIVATE KEY", ed8, err)
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	pubPEM := encodePEM(t, "PUBLIC KEY", pub, err)
	//lint:ignore SA1019 the broken scheme is what is tested
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte("x"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		hint string
	}{
		"empty":            {nil, "no PEM block"},
		"word":             {[]byte("hunter2hunter2"), "no PEM block"},
		"der":              {pkcs8, "no PEM block"},
		"truncated":        {good8[:len(good8)/2], "no PEM block"},
		"endless":          {bytes.Repeat([]byte("A"), maxPEM+1), "no key"},
		"two keys":         {append(append([]byte{}, good8...), good1...), "more than one block"},
		"1024 bits":        {encodePEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak), nil), "at least 2048"},
		"elliptic curve":   {ecPEM, "want RSA"},
		"elliptic, pkcs8":  {ec8PEM, "want RSA"},
		"ed25519":          {edPEM, "want RSA"},
		"public key":       {pubPEM, "want the private key"},
		"certificate":      {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pub}), "want the private key"},
		"encrypted":        {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: pkcs8}), "openssl pkey"},
		"encrypted, old":   {pem.EncodeToMemory(legacy), "openssl pkey"},
		"openssh":          {pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: pkcs8}), "no private key"},
		"garbage in pkcs8": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}), "PKCS#8"},
		"garbage in pkcs1": {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("hunter2")}), "PKCS#1"},
		"wrong label":      {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs8}), "PKCS#1"},
	} {
		_, err := ParseSigningKey(c.text)
		if err == nil || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: %v, want a hint on %q", name, err, c.hint)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes the file", name)
		}
	}
}

func TestTamperedKeyIsRefused(t *testing.T) {
	t.Parallel()
	k := *testKeys()[0].key
	k.D = new(big.Int).Add(k.D, big.NewInt(2))
	k.Precomputed = rsa.PrecomputedValues{}
	if _, err := NewSigningKey(&k); err == nil {
		t.Error("took a key whose halves do not fit")
	}
	for name, p := range map[string]*rsa.PublicKey{
		"nil": nil, "empty": {}, "exponent 3": {N: k.N, E: 3}, "even exponent": {N: k.N, E: 65538},
		"1": {N: k.N, E: 1}, "9000 bits": {N: new(big.Int).Lsh(big.NewInt(1), 9000), E: 65537},
	} {
		if _, err := NewPublicKey(p); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

func TestParseTrustedKeys(t *testing.T) {
	t.Parallel()
	a, err := testKeys()[1].Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	b := encodePEM(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&testKeys()[2].key.PublicKey), nil)
	c, err := testKeys()[0].ExposePEM()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseTrustedKeys(bytes.Join([][]byte{a, b, c}, []byte("\n")))
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, want := range []int{1, 2, 0} {
		if keys[i].ID() != testKeys()[want].Public().ID() {
			t.Errorf("key %d is another", i)
		}
	}
	if keys, err := ParseTrustedKeys([]byte(" \n")); err != nil || len(keys) != 0 {
		t.Errorf("none: %d keys, %v", len(keys), err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	for name, text := range map[string][]byte{
		"garbage behind":  append(append([]byte{}, a...), "xyz"...),
		"elliptic":        encodePEM(t, "PUBLIC KEY", ecDER, err),
		"certificate":     encodePEM(t, "CERTIFICATE", ecDER, err),
		"broken":          encodePEM(t, "PUBLIC KEY", []byte("x"), nil),
		"broken pkcs1":    encodePEM(t, "RSA PUBLIC KEY", []byte("x"), nil),
		"good then wrong": append(append([]byte{}, a...), encodePEM(t, "PUBLIC KEY", []byte("x"), nil)...),
	} {
		if _, err := ParseTrustedKeys(text); err == nil {
			t.Errorf("took %s", name)
		}
	}
}

func TestJWKSHoldsPublicHalvesOnly(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	r, err := NewKeyring(keys[0], keys[1].Public(), keys[0].Public(), keys[1].Public())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(r.JWKS(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Keys) != 2 || doc.Keys[0]["kid"] != keys[0].Public().ID() {
		t.Fatalf("%s", r.JWKS())
	}
	for _, k := range doc.Keys {
		if len(k) != 6 || k["kty"] != "RSA" || k["use"] != "sig" || k["alg"] != "RS256" || k["e"] != "AQAB" || k["n"] == "" {
			t.Errorf("members %v", k)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	r, err := NewKeyring(testKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"at+jwt", "{}"}, {"AT+JWT", "{}"}, {"application/at+jwt", "{}"}, {"Application/At+Jwt", "{}"}, {"", "{}"},
		{`x","alg":"none`, "{}"}, {"a b", "{}"}, {"assertion+jwt", ""}, {"assertion+jwt", "[]"}, {"assertion+jwt", "{"},
		{"assertion+jwt", "{}x"}, {"assertion+jwt", "null"},
	} {
		if _, err := r.Sign(c[0], []byte(c[1])); err == nil {
			t.Errorf("signed %q as %q", c[1], c[0])
		}
	}
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := testKeys()[0]
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "ptr", &k, "in", struct{ K SigningKey }{k})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "ptr", &k, "in", struct{ K SigningKey }{k})
	inJSON, err := json.Marshal(map[string]any{"key": k, "ptr": &k})
	if err != nil {
		t.Fatal(err)
	}
	log.Write(inJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%o", "%b", "%T"} {
		fmt.Fprintf(&log, verb, k)
		fmt.Fprintf(&log, verb, &k)
		fmt.Fprintf(&log, verb, struct{ K SigningKey }{k})
		fmt.Fprintf(&log, verb, []SigningKey{k})
	}
	seen := strings.ToLower(log.String())
	for _, secret := range append([]*big.Int{k.key.D, k.key.Precomputed.Dp, k.key.Precomputed.Qinv}, k.key.Primes...) {
		for _, spelling := range []string{secret.String(), secret.Text(16), secret.Text(8), secret.Text(2), hex.EncodeToString(secret.Bytes()),
			strings.ToLower(base64.StdEncoding.EncodeToString(secret.Bytes()))} {
			if strings.Contains(seen, spelling[10:40]) {
				t.Fatalf("the key is in the output")
			}
		}
	}
	if !strings.Contains(log.String(), k.Public().ID()) {
		t.Error("not even the id is in the output")
	}
	if s := (SigningKey{}).String(); s != "signing key (none)" {
		t.Error(s)
	}
}

func FuzzParseKeys(f *testing.F) {
	good, err := testKeys()[0].ExposePEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := ParseSigningKey(text); err == nil {
			again, err := k.ExposePEM()
			if err != nil {
				t.Fatal(err)
			}
			if l, err := ParseSigningKey(again); err != nil || l.Public().ID() != k.Public().ID() {
				t.Fatal("a key that was taken does not come back")
			}
		}
		if keys, err := ParseTrustedKeys(text); err == nil {
			for _, k := range keys {
				if k.Key().N.BitLen() < minKeyBits {
					t.Fatal("took a weak key")
				}
			}
		}
	})
}
