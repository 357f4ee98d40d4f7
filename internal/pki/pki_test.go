package pki

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// site makes a CA with certificates for nodes.
func site(t *testing.T, nodes ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	created, err := EnsureCA(dir)
	require.NoError(t, err)
	require.True(t, created)
	for _, n := range nodes {
		require.NoError(t, Issue(dir, n))
	}
	return dir
}

func creds(t *testing.T, dir, name string) *Credentials {
	t.Helper()
	c, err := Load(dir, name)
	require.NoError(t, err)
	return c
}

// shake lets the two ends meet and returns what each says. In TLS 1.3 a client learns
// that it was refused only when it reads.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
		_ = a.Close()
	}()
	c := tls.Client(b, client)
	_, clientErr = c.Read(make([]byte, 1))
	_ = b.Close()
	return <-done, clientErr
}

func TestNodesOfASiteBelieveEachOther(t *testing.T) {
	dir := site(t, "p1", "r1")
	serverErr, clientErr := shake(t, creds(t, dir, "p1").ServerConfig(), creds(t, dir, "r1").ClientConfig("p1"))
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)
}

func TestServerMustProveTheNameThatTheClientExpects(t *testing.T) {
	dir := site(t, "p1", "r1")
	_, clientErr := shake(t, creds(t, dir, "p1").ServerConfig(), creds(t, dir, "r1").ClientConfig("p2"))
	require.ErrorContains(t, clientErr, "p2")
}

func TestStrangersAreRefusedOnBothEnds(t *testing.T) {
	ours, theirs := site(t, "p1", "r1"), site(t, "p1", "r1")
	serverErr, clientErr := shake(t, creds(t, ours, "p1").ServerConfig(), creds(t, theirs, "r1").ClientConfig("p1"))
	require.Error(t, serverErr)
	require.Error(t, clientErr)

	t.Run("a client without a certificate", func(t *testing.T) {
		cfg := creds(t, ours, "r1").ClientConfig("p1")
		cfg.Certificates = nil
		serverErr, clientErr := shake(t, creds(t, ours, "p1").ServerConfig(), cfg)
		require.Error(t, serverErr)
		require.Error(t, clientErr)
	})
	t.Run("an older TLS", func(t *testing.T) {
		cfg := creds(t, ours, "r1").ClientConfig("p1")
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		serverErr, _ := shake(t, creds(t, ours, "p1").ServerConfig(), cfg)
		require.Error(t, serverErr)
	})
}

func TestKeysAreReadableByTheirOwnerAlone(t *testing.T) {
	dir := site(t, "r1")
	for _, f := range []string{"ca.key", "r1.key"} {
		st, err := os.Stat(filepath.Join(dir, f))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), f)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEnsureKeepsWhatIsGood(t *testing.T) {
	dir := site(t)
	created, err := EnsureCA(dir)
	require.NoError(t, err)
	require.False(t, created)
	created, err = EnsureNode(dir, "r1")
	require.NoError(t, err)
	require.True(t, created)
	before, err := os.ReadFile(filepath.Join(dir, "r1.crt"))
	require.NoError(t, err)
	created, err = EnsureNode(dir, "r1")
	require.NoError(t, err)
	require.False(t, created)
	after, err := os.ReadFile(filepath.Join(dir, "r1.crt"))
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestEnsureRenewsWhatEndsSoon(t *testing.T) {
	dir := site(t)
	for name, left := range map[string]time.Duration{"expired": -time.Hour, "soon": renewBefore - time.Hour} {
		now := time.Now()
		require.NoError(t, issue(dir, name, now.Add(-2*lifetime), now.Add(left)))
		created, err := EnsureNode(dir, name)
		require.NoError(t, err)
		require.True(t, created, name)
		require.Greater(t, time.Until(creds(t, dir, name).NotAfter), renewBefore)
	}
}

func TestHalfACAIsNotReplaced(t *testing.T) {
	for _, lost := range []string{"ca.crt", "ca.key"} {
		dir := site(t)
		require.NoError(t, os.Remove(filepath.Join(dir, lost)))
		_, err := EnsureCA(dir)
		require.ErrorContains(t, err, lost)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	other := site(t, "r1")
	take := func(t *testing.T, dir, from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), b, 0o600))
	}
	for name, tc := range map[string]struct {
		harm func(t *testing.T, dir string)
		want []string
	}{
		"no directory":   {func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) }, []string{"ca.crt does not exist", "duet certs"}},
		"no certificate": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "r1.crt"))) }, []string{"r1.crt does not exist"}},
		"no key":         {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "r1.key"))) }, []string{"r1.key does not exist"}},
		"garbage": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "r1.crt"), []byte("hello"), 0o600))
		}, []string{"r1.crt: not a PEM file"}},
		"key as cert":   {func(t *testing.T, dir string) { take(t, dir, filepath.Join(dir, "r1.key"), "r1.crt") }, []string{"r1.crt: holds a PRIVATE KEY, want a CERTIFICATE"}},
		"another's key": {func(t *testing.T, dir string) { take(t, dir, filepath.Join(dir, "ca.key"), "r1.key") }, []string{"r1.key is not the key of", "r1.crt"}},
		"another CA":    {func(t *testing.T, dir string) { take(t, dir, filepath.Join(other, "ca.crt"), "ca.crt") }, []string{"r1.crt was not issued by", "ca.crt"}},
		"expired": {func(t *testing.T, dir string) {
			n := time.Now()
			require.NoError(t, issue(dir, "r1", n.Add(-2*time.Hour), n.Add(-time.Hour)))
		}, []string{"r1.crt expired at", "duet certs"}},
		"not valid yet": {func(t *testing.T, dir string) {
			n := time.Now()
			require.NoError(t, issue(dir, "r1", n.Add(time.Hour), n.Add(2*time.Hour)))
		}, []string{"r1.crt is valid from"}},
		"of another node": {func(t *testing.T, dir string) {
			require.NoError(t, Issue(dir, "r2"))
			take(t, dir, filepath.Join(dir, "r2.crt"), "r1.crt")
			take(t, dir, filepath.Join(dir, "r2.key"), "r1.key")
		}, []string{"r1.crt is the certificate of r2"}},
		"the CA expired too": {func(t *testing.T, dir string) {
			n := time.Now()
			require.NoError(t, makeCA(dir, n.Add(-2*time.Hour), n.Add(-time.Hour)))
			require.NoError(t, issue(dir, "r1", n.Add(-2*time.Hour), n.Add(time.Hour)))
		}, []string{"expired at"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := site(t, "r1")
			tc.harm(t, dir)
			_, err := Load(dir, "r1")
			require.Error(t, err)
			for _, w := range append(tc.want, "certificate of node r1") {
				require.ErrorContains(t, err, w)
			}
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, strings.ToLower(err.Error()), "begin")
		})
	}
}

func TestNamesThatAreNoNodesAreRefused(t *testing.T) {
	dir := site(t)
	for _, n := range []string{"", "ca", "../r1", "a/b"} {
		require.Error(t, Issue(dir, n), "%q", n)
	}
}
