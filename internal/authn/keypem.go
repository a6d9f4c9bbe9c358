package authn

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Larger inputs are no key file.
const maxPEM = 1 << 20

// ParseSigningKey reads one private key, PKCS#8 or PKCS#1, from PEM. Errors say
// what to do and never quote the input.
func ParseSigningKey(text []byte) (SigningKey, error) {
	block, rest, err := firstBlock(text)
	if err != nil {
		return SigningKey{}, fmt.Errorf("read signing key: %w", err)
	}
	if extra, _ := pem.Decode(rest); extra != nil {
		return SigningKey{}, errors.New("read signing key: the file holds more than one block; keep one private key in it and put older keys into the file of trusted keys")
	}
	key, err := privateFrom(block)
	if err != nil {
		return SigningKey{}, fmt.Errorf("read signing key: %w", err)
	}
	return NewSigningKey(key)
}

// ParseTrustedKeys reads any number of keys from PEM: PUBLIC KEY, RSA PUBLIC
// KEY, or private keys, of which only the public half is kept. An empty text
// holds no keys and is fine.
func ParseTrustedKeys(text []byte) ([]PublicKey, error) {
	var keys []PublicKey
	for n := 1; len(bytes.TrimSpace(text)) > 0; n++ {
		block, rest, err := firstBlock(text)
		if err != nil {
			return nil, fmt.Errorf("read trusted key %d: %w", n, err)
		}
		var pub *rsa.PublicKey
		switch block.Type {
		case "PUBLIC KEY":
			any, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("read trusted key %d: %w", n, err)
			}
			var ok bool
			if pub, ok = any.(*rsa.PublicKey); !ok {
				return nil, fmt.Errorf("read trusted key %d: it is a %T, want RSA, as RS256 needs", n, any)
			}
		case "RSA PUBLIC KEY":
			if pub, err = x509.ParsePKCS1PublicKey(block.Bytes); err != nil {
				return nil, fmt.Errorf("read trusted key %d: %w", n, err)
			}
		default:
			key, err := privateFrom(block)
			if err != nil {
				return nil, fmt.Errorf("read trusted key %d: %w", n, err)
			}
			pub = &key.PublicKey
		}
		key, err := NewPublicKey(pub)
		if err != nil {
			return nil, fmt.Errorf("read trusted key %d: %w", n, err)
		}
		keys, text = append(keys, key), rest
	}
	return keys, nil
}

func firstBlock(text []byte) (*pem.Block, []byte, error) {
	if len(text) > maxPEM {
		return nil, nil, fmt.Errorf("the file has %d bytes, which is no key", len(text))
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, nil, errors.New("no PEM block found; want -----BEGIN PRIVATE KEY----- or -----BEGIN PUBLIC KEY-----")
	}
	return block, rest, nil
}

func privateFrom(block *pem.Block) (*rsa.PrivateKey, error) {
	// RFC 1421 encryption (Proc-Type) is broken, PKCS#8 encryption would need
	// a passphrase that has to live beside the file anyway.
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] != "" {
		return nil, errors.New("the key is encrypted; decrypt it with: openssl pkey -in KEY -out PLAIN, and guard the file with its mode and a secret mount")
	}
	switch block.Type {
	case "PRIVATE KEY":
		any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse PKCS#8: %w", err)
		}
		key, ok := any.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it is a %T, want RSA, as RS256 needs; make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", any)
		}
		return key, nil
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse PKCS#1: %w", err)
		}
		return key, nil
	case "EC PRIVATE KEY":
		return nil, errors.New("it is an elliptic curve key, want RSA, as RS256 needs; make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, fmt.Errorf("the block is a %s, want the private key", block.Type)
	}
	return nil, fmt.Errorf("a PEM block of type %q is no private key", block.Type)
}

// ExposePEM is the private key as PKCS#8 PEM, for writing it to a guarded file
// and for nothing else.
func (k SigningKey) ExposePEM() ([]byte, error) {
	if k.key == nil {
		return nil, errors.New("encode signing key: there is none")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encode signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PEM is the public key as PKIX PEM, fit for ParseTrustedKeys.
func (p PublicKey) PEM() ([]byte, error) {
	if p.key == nil {
		return nil, errors.New("encode public key: there is none")
	}
	der, err := x509.MarshalPKIXPublicKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
