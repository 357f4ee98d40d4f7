package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	caName = "ca"
	// lifetime of all certificates, and how far back they begin so that a node whose
	// clock is a little late accepts them.
	lifetime = 10 * 365 * 24 * time.Hour
	backdate = 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
)

// EnsureCA makes ca.crt and ca.key in dir, and dir itself, unless both exist; created
// tells which. A CA of which one half is missing is an error: making a new one would
// lock out the nodes that trust the old.
func EnsureCA(dir string) (created bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make the certificate directory: %w", err)
	}
	hasCert, err := exists(certPath(dir, caName))
	if err != nil {
		return false, err
	}
	hasKey, err := exists(keyPath(dir, caName))
	switch {
	case err != nil:
		return false, err
	case hasCert && hasKey:
		_, _, err := loadCA(dir)
		return false, err
	case hasCert:
		return false, fmt.Errorf("%s exists and %s does not: put it back, or remove both and all node certificates to begin anew",
			certPath(dir, caName), keyPath(dir, caName))
	case hasKey:
		return false, fmt.Errorf("%s exists and %s does not: put it back, or remove both and all node certificates to begin anew",
			keyPath(dir, caName), certPath(dir, caName))
	}
	now := time.Now()
	return true, makeCA(dir, now.Add(-backdate), now.Add(lifetime))
}

func makeCA(dir string, from, to time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the CA key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"duet"}, CommonName: "duet site CA " + serial.Text(36)[:6]},
		NotBefore:             from,
		NotAfter:              to,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the CA certificate: %w", err)
	}
	return writePair(dir, caName, der, key)
}

// Issue makes a certificate for the node name, good for both ends of a connection, and
// writes NAME.crt and NAME.key to dir, over those that are there. dir must hold the CA.
func Issue(dir, name string) error {
	now := time.Now()
	return issue(dir, name, now.Add(-backdate), now.Add(lifetime))
}

// EnsureNode issues a certificate for the node name unless dir has a good one that lasts
// another 30 days; created tells which.
func EnsureNode(dir, name string) (created bool, err error) {
	hasCert, err := exists(certPath(dir, name))
	if err != nil {
		return false, err
	}
	hasKey, err := exists(keyPath(dir, name))
	if err != nil {
		return false, err
	}
	if hasCert && hasKey {
		c, err := load(dir, name, time.Now())
		var expired *ExpiredError
		switch {
		case err == nil && time.Until(c.NotAfter) > renewBefore:
			return false, nil
		case err != nil && !errors.As(err, &expired):
			return false, err
		}
	}
	return true, Issue(dir, name)
}

func issue(dir, name string, from, to time.Time) error {
	if name == caName || name == "" || name != filepath.Base(name) {
		return fmt.Errorf("issue a certificate: %q cannot be the name of a node", name)
	}
	ca, caKey, err := loadCA(dir)
	if err != nil {
		return fmt.Errorf("issue a certificate for %s: %w", name, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key for %s: %w", name, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	if to.After(ca.NotAfter) {
		to = ca.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"duet"}, CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    from,
		NotAfter:     to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	return writePair(dir, name, der, key)
}

func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n.SetBit(n, 120, 1), nil // never zero, always the same length
}

func exists(path string) (bool, error) {
	switch _, err := os.Stat(path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}
