package authn

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// revocations are the lists of one file, by the raw subject of their issuer.
type revocations struct {
	lists map[string][]*crl
}

type crl struct {
	*x509.RevocationList
	serials map[string]struct{}
}

// parseCRLs reads full, direct lists (RFC 5280, section 5). Refused are a wrong
// signature, a list from the future, one without nextUpdate, deltas, indirect
// and partitioned lists, whatever else is marked critical, and a list older than
// the one in use: putting back last week's list would bring revoked keys to life.
// A list past its nextUpdate is taken, and judged on each use.
func parseCRLs(text []byte, cas []*x509.Certificate, old *revocations, now time.Time) (*revocations, error) {
	ders, err := crlBlocks(text)
	if err != nil {
		return nil, err
	}
	r := &revocations{lists: make(map[string][]*crl)}
	for i, der := range ders {
		list, err := parseCRL(der, now)
		if err != nil {
			return nil, fmt.Errorf("list %d: %w", i+1, err)
		}
		named, signed := false, false
		for _, ca := range cas {
			if bytes.Equal(ca.RawSubject, list.RawIssuer) {
				named, signed = true, signed || list.CheckSignatureFrom(ca) == nil
			}
		}
		// An intermediate that is not in the CA file comes with the client's
		// chain: its list is checked there.
		if named && !signed {
			return nil, fmt.Errorf("list %d: the signature is not its issuer's (%s)", i+1, list.Issuer)
		}
		r.lists[string(list.RawIssuer)] = append(r.lists[string(list.RawIssuer)], list)
	}
	if old != nil {
		for issuer, lists := range r.lists {
			for _, list := range lists {
				for _, before := range old.lists[issuer] {
					if bytes.Equal(before.AuthorityKeyId, list.AuthorityKeyId) && list.olderThan(before) {
						return nil, fmt.Errorf("the list of %s is number %s of %s, older than number %s in use",
							list.Issuer, list.Number, list.ThisUpdate.Format(time.RFC3339), before.Number)
					}
				}
			}
		}
	}
	return r, nil
}

func crlBlocks(text []byte) ([][]byte, error) {
	if len(text) > 0 && text[0] == 0x30 { // DER SEQUENCE: one list
		return [][]byte{text}, nil
	}
	var ders [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("it holds a %s, want X509 CRL only", block.Type)
		}
		ders, text = append(ders, block.Bytes), rest
	}
	if len(ders) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("want PEM blocks -----BEGIN X509 CRL----- and nothing else, or one DER list")
	}
	return ders, nil
}

func parseCRL(der []byte, now time.Time) (*crl, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if len(parsed.Raw) != len(der) {
		return nil, errors.New("there are bytes after the list")
	}
	for _, ext := range parsed.Extensions {
		if ext.Critical || ext.Id.String() == oidDeltaCRL {
			return nil, fmt.Errorf("extension %s is not supported: want a full, direct list", ext.Id)
		}
	}
	switch {
	case parsed.NextUpdate.IsZero():
		return nil, errors.New("it has no nextUpdate, so nobody can tell when it is out of date")
	case parsed.ThisUpdate.After(now.Add(Leeway)):
		return nil, fmt.Errorf("it is from the future (%s)", parsed.ThisUpdate.Format(time.RFC3339))
	}
	list := &crl{RevocationList: parsed, serials: make(map[string]struct{}, len(parsed.RevokedCertificateEntries))}
	for _, e := range parsed.RevokedCertificateEntries {
		for _, ext := range e.Extensions {
			if ext.Critical {
				return nil, fmt.Errorf("entry extension %s is not supported: want a direct list", ext.Id)
			}
		}
		list.serials[serial(e.SerialNumber)] = struct{}{}
	}
	return list, nil
}

const oidDeltaCRL = "2.5.29.27"

// serial keeps 5 and -5 apart.
func serial(n *big.Int) string {
	if n.Sign() < 0 {
		return "-" + string(n.Bytes())
	}
	return string(n.Bytes())
}

func (l *crl) olderThan(other *crl) bool {
	if l.Number != nil && other.Number != nil {
		return l.Number.Cmp(other.Number) < 0
	}
	return l.ThisUpdate.Before(other.ThisUpdate)
}

// check looks every certificate but the root up in the lists that its issuer
// signed, and returns how long they hold. A missing list holds until never.
func (r *revocations) check(chain []*x509.Certificate) (until time.Time, err error) {
	for i, c := range chain[:len(chain)-1] {
		issuer, holds := chain[i+1], time.Time{}
		for _, l := range r.lists[string(issuer.RawSubject)] {
			if l.CheckSignatureFrom(issuer) != nil {
				continue
			}
			if _, revoked := l.serials[serial(c.SerialNumber)]; revoked {
				err = fmt.Errorf("%w: serial %x of %s", ErrRevoked, c.SerialNumber, issuer.Subject)
			}
			if l.NextUpdate.After(holds) {
				holds = l.NextUpdate
			}
		}
		if i == 0 {
			until = holds
		}
		until = earlier(until, holds)
	}
	return until, err
}
