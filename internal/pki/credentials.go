package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Credentials are what a node proves itself with, and whom it believes.
type Credentials struct {
	// Name is the node's.
	Name string
	// NotAfter is when the node's certificate, or the CA's if that is earlier, ends.
	NotAfter time.Time

	cert  tls.Certificate
	roots *x509.CertPool
}

// ExpiredError says that a certificate is not valid now.
type ExpiredError struct {
	File                string
	NotBefore, NotAfter time.Time
	Now                 time.Time
}

func (e *ExpiredError) Error() string {
	if e.Now.Before(e.NotBefore) {
		return fmt.Sprintf("%s is valid from %s only, and this machine's clock says %s", e.File,
			e.NotBefore.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s expired at %s (this machine's clock says %s): `duet certs` makes a new one", e.File,
		e.NotAfter.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// Load reads ca.crt and the pair of the node name from dir, and checks that they belong
// together and are valid now.
func Load(dir, name string) (*Credentials, error) {
	return load(dir, name, time.Now())
}

func load(dir, name string, now time.Time) (*Credentials, error) {
	wrap := func(err error) error { return fmt.Errorf("certificate of node %s: %w", name, err) }
	ca, err := readCert(certPath(dir, caName))
	if err != nil {
		return nil, wrap(err)
	}
	cert, err := readCert(certPath(dir, name))
	if err != nil {
		return nil, wrap(err)
	}
	key, err := readKey(keyPath(dir, name), cert, certPath(dir, name))
	if err != nil {
		return nil, wrap(err)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return nil, wrap(fmt.Errorf("%s was not issued by %s: the node and this directory belong to different CAs",
			certPath(dir, name), certPath(dir, caName)))
	}
	for file, c := range map[string]*x509.Certificate{certPath(dir, caName): ca, certPath(dir, name): cert} {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return nil, wrap(&ExpiredError{File: file, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Now: now})
		}
	}
	if err := cert.VerifyHostname(name); err != nil {
		return nil, wrap(fmt.Errorf("%s is the certificate of %s", certPath(dir, name), cert.Subject.CommonName))
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	end := cert.NotAfter
	if ca.NotAfter.Before(end) {
		end = ca.NotAfter
	}
	return &Credentials{
		Name: name, NotAfter: end, roots: roots,
		cert: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
	}, nil
}

// ServerConfig returns the configuration of a listener that lets in only nodes of the
// same CA. The caller owns it.
func (c *Credentials) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.roots,
	}
}

// ClientConfig returns the configuration of a connection to the node serverName, at
// whatever address: the server must prove that name. The caller owns it; to reach
// another node, clone it and set ServerName.
func (c *Credentials) ClientConfig(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		RootCAs:      c.roots,
		ServerName:   serverName,
	}
}
