package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

func certPath(dir, name string) string { return filepath.Join(dir, name+".crt") }
func keyPath(dir, name string) string  { return filepath.Join(dir, name+".key") }

// writePair writes the key first: a certificate without its key is worth nothing.
func writePair(dir, name string, der []byte, key crypto.Signer) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key of %s: %w", name, err)
	}
	if err := writeFile(keyPath(dir, name), 0o600, &pem.Block{Type: pemKey, Bytes: keyDER}); err != nil {
		return err
	}
	return writeFile(certPath(dir, name), 0o644, &pem.Block{Type: pemCertificate, Bytes: der})
}

// writeFile puts a whole file in the place of path, or leaves path as it was.
func writeFile(path string, mode os.FileMode, block *pem.Block) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := pem.Encode(f, block); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist: `duet certs` makes it", path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file", path)
	}
	if block.Type != kind {
		return nil, fmt.Errorf("%s: holds a %s, want a %s", path, block.Type, kind)
	}
	return block.Bytes, nil
}

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, pemCertificate)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// readKey reads the key in path, which must be the one of cert, read from certFile.
func readKey(path string, cert *x509.Certificate, certFile string) (*ecdsa.PrivateKey, error) {
	return readKeyOf[*ecdsa.PrivateKey](path, cert, certFile, "an ECDSA key")
}

func readKeyOf[K crypto.Signer](path string, cert *x509.Certificate, certFile, what string) (none K, err error) {
	der, err := readPEM(path, pemKey)
	if err != nil {
		return none, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return none, fmt.Errorf("%s: not a private key in PKCS #8 form", path)
	}
	key, ok := k.(K)
	if !ok {
		return none, fmt.Errorf("%s: not %s", path, what)
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return none, fmt.Errorf("%s is not the key of %s: they were made at different times", path, certFile)
	}
	return key, nil
}

func loadCA(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	cert, err := readCert(certPath(dir, caName))
	if err != nil {
		return nil, nil, err
	}
	if !cert.IsCA {
		return nil, nil, fmt.Errorf("%s is not the certificate of a CA", certPath(dir, caName))
	}
	key, err := readKey(keyPath(dir, caName), cert, certPath(dir, caName))
	if err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}
