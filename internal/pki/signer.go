package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"path/filepath"
	"time"
)

// signerSuffix follows the name of a playback node in the files of what it signs with.
const signerSuffix = ".sign"

// documentSigning is the purpose of certificates that sign exports (RFC 9336). They
// prove nothing at the ends of a connection, and those of nodes sign no export.
var documentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// Signer is what a playback node signs exports with.
type Signer struct {
	// Cert is the certificate, DER, and Key the key to it.
	Cert []byte
	Key  ed25519.PrivateKey
}

// EnsureSigner makes NAME.sign.crt and NAME.sign.key for the playback node name unless
// dir has good ones that last another 30 days; created tells which. dir must hold the CA.
func EnsureSigner(dir, name string) (created bool, err error) {
	hasCert, err := exists(certPath(dir, name+signerSuffix))
	if err != nil {
		return false, err
	}
	hasKey, err := exists(keyPath(dir, name+signerSuffix))
	if err != nil {
		return false, err
	}
	if hasCert && hasKey {
		if _, err := LoadSigner(dir, name); err != nil {
			return false, err
		}
		cert, err := readCert(certPath(dir, name+signerSuffix))
		if err == nil && time.Until(cert.NotAfter) > renewBefore {
			return false, nil
		}
	}
	return true, IssueSigner(dir, name)
}

// IssueSigner makes them, over those that are there.
func IssueSigner(dir, name string) error {
	if name == caName || name == "" || name != filepath.Base(name) {
		return fmt.Errorf("issue a certificate: %q cannot be the name of a node", name)
	}
	ca, caKey, err := loadCA(dir)
	if err != nil {
		return fmt.Errorf("issue a certificate to sign exports for %s: %w", name, err)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key to sign exports for %s: %w", name, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	now := time.Now()
	to := now.Add(lifetime)
	if to.After(ca.NotAfter) {
		to = ca.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber:       serial,
		Subject:            pkix.Name{Organization: []string{"duet"}, OrganizationalUnit: []string{"exports"}, CommonName: name},
		NotBefore:          now.Add(-backdate),
		NotAfter:           to,
		KeyUsage:           x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{documentSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, pub, caKey)
	if err != nil {
		return fmt.Errorf("sign the certificate to sign exports of %s: %w", name, err)
	}
	return writePair(dir, name+signerSuffix, der, key)
}

// LoadSigner reads what the playback node name signs exports with. HasSigner says
// whether there is something to read.
func LoadSigner(dir, name string) (*Signer, error) {
	wrap := func(err error) error { return fmt.Errorf("what %s signs exports with: %w", name, err) }
	file := certPath(dir, name+signerSuffix)
	cert, err := readCert(file)
	if err != nil {
		return nil, wrap(err)
	}
	key, err := readKeyOf[ed25519.PrivateKey](keyPath(dir, name+signerSuffix), cert, file, "an Ed25519 key")
	if err != nil {
		return nil, wrap(err)
	}
	if cert.Subject.CommonName != name {
		return nil, wrap(fmt.Errorf("%s is the certificate of %s", file, cert.Subject.CommonName))
	}
	ca, err := readCert(certPath(dir, caName))
	if err != nil {
		return nil, wrap(err)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return nil, wrap(fmt.Errorf("%s was not issued by %s", file, certPath(dir, caName)))
	}
	return &Signer{Cert: cert.Raw, Key: key}, nil
}

// HasSigner reports whether dir has a certificate that the playback node signs with.
func HasSigner(dir, name string) bool {
	has, err := exists(certPath(dir, name+signerSuffix))
	return err != nil || has
}

// Roots reads the certificate of a CA from a PEM file.
func Roots(file string) (*x509.CertPool, error) {
	cert, err := readCert(file)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of a CA", file)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return roots, nil
}
