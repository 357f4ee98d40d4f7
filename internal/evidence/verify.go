package evidence

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/media"
)

// Purpose is the extended key usage of certificates that may sign manifests:
// id-kp-documentSigning (RFC 9336). Those of nodes, which prove who is at the other end
// of a connection, do not have it.
var purpose = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// Purpose returns it, for those who issue such certificates.
func Purpose() asn1.ObjectIdentifier { return slices.Clone(purpose) }

// VerifyOptions say how Verify works.
type VerifyOptions struct {
	// Roots are the CAs that are believed; nil: the signature is not checked against any,
	// and proves nothing but that the file was not damaged by accident.
	Roots *x509.CertPool
	// Progress is told how many bytes of the file were checked. May be nil.
	Progress func(done, total int64)
}

// Problem is something in the file that is not as the manifest says.
type Problem struct {
	// What is wrong, for people. Fragment is the number of the fragment, -1: none.
	What     string    `json:"what"`
	Fragment int       `json:"fragment"`
	At       int64     `json:"offset"`
	Size     int64     `json:"size,omitempty"`
	Camera   string    `json:"camera,omitempty"`
	Time     time.Time `json:"time,omitzero"`
}

func (p *Problem) String() string {
	s := fmt.Sprintf("at byte %d", p.At)
	if p.Camera != "" {
		s += fmt.Sprintf(", camera %s, %s", p.Camera, p.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return s + ": " + p.What
}

// Report is what Verify found.
type Report struct {
	Manifest *Manifest `json:"-"`
	// SignedBy is the node whose certificate signed the manifest, empty where the
	// signature does not prove that. Then Signature says why.
	SignedBy  string `json:"signed_by,omitempty"`
	Signature string `json:"signature_problem,omitempty"`
	// Whole fragments were found equal to what was recorded, Trimmed ones have the access
	// units that the signer saw.
	Whole   int   `json:"whole"`
	Trimmed int   `json:"trimmed"`
	Bytes   int64 `json:"bytes"`
	// Problems are sorted by offset.
	Problems []Problem `json:"problems"`
}

// OK reports that the file is what the signer made, and that it is known who that is.
func (r *Report) OK() bool { return r.SignedBy != "" && len(r.Problems) == 0 }

// maxPiece bounds what of a file is held in memory at once.
const maxPiece = 512 << 20

// Verify checks a file of size bytes against the manifest at its end: the signature and
// its certificate, that the file is made of the pieces that are listed and of nothing
// else, the bytes of each, and that every hole in time is declared. The error is for a
// file that cannot be read or has no manifest; what is wrong with it is in the report.
func Verify(ctx context.Context, r io.ReaderAt, size int64, o VerifyOptions) (*Report, error) {
	m, err := Read(r, size)
	if err != nil {
		return nil, err
	}
	v := &verifier{r: r, m: m, report: Report{Manifest: m}, progress: o.Progress}
	if err := checkSignature(m, o.Roots); err != nil {
		v.report.Signature = err.Error()
	} else {
		v.report.SignedBy = m.Node
	}
	if !v.layout() {
		return &v.report, nil
	}
	if err := v.header(); err != nil {
		return nil, err
	}
	for i := range m.Fragments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := v.fragment(i); err != nil {
			return nil, err
		}
		v.tell(m.Fragments[i].At + m.Fragments[i].Size)
	}
	v.holes()
	v.report.Bytes = size
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int { return cmp.Compare(a.At, b.At) })
	return &v.report, nil
}

// checkSignature checks who signed.
func checkSignature(m *Manifest, roots *x509.CertPool) error {
	if len(m.Cert) == 0 {
		return errors.New("the manifest is not signed")
	}
	cert, err := x509.ParseCertificate(m.Cert)
	if err != nil {
		return fmt.Errorf("the certificate of the signer cannot be read: %w", err)
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return errors.New("the certificate of the signer has no Ed25519 key")
	}
	if !ed25519.Verify(key, message(m.Digest), m.Signature) {
		return errors.New("the signature does not fit: the manifest was changed after it was signed")
	}
	if roots == nil {
		return fmt.Errorf("signed by %q, but no CA was given to check that against", cert.Subject.CommonName)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: m.Made, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("the certificate of the signer is not good: %w", err)
	}
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, purpose.Equal) || cert.IsCA {
		return errors.New("the certificate of the signer is not for signing exports")
	}
	if cert.Subject.CommonName != m.Node {
		return fmt.Errorf("the certificate of the signer is that of %q, the manifest says %q", cert.Subject.CommonName, m.Node)
	}
	return nil
}

type verifier struct {
	r        io.ReaderAt
	m        *Manifest
	report   Report
	progress func(done, total int64)
	buf      []byte
}

func (v *verifier) tell(done int64) {
	if v.progress != nil {
		v.progress(done, v.m.At+v.m.Size)
	}
}

// problem notes what is wrong with fragment i, or with the file as a whole: -1.
func (v *verifier) problem(i int, at, size int64, ns int64, format string, args ...any) {
	p := Problem{What: fmt.Sprintf(format, args...), Fragment: i, At: at, Size: size}
	if i >= 0 {
		p.Camera, p.Time = v.m.Camera, time.Unix(0, ns).UTC()
	}
	v.report.Problems = append(v.report.Problems, p)
}

// layout checks that header, fragments and manifest follow each other without a byte
// between them, and that what they refer to is there.
func (v *verifier) layout() bool {
	m := v.m
	at := m.Header.Size
	if at <= 0 || at > maxPiece || at > m.At || m.Header.Fragment < -1 || m.Header.Fragment >= len(m.Fragments) {
		v.problem(-1, 0, at, 0, "a header of %d bytes does not fit", at)
		return false
	}
	for i := range m.Fragments {
		f := &m.Fragments[i]
		switch {
		case f.At != at || f.Size < 0 || f.Size > maxPiece:
			v.problem(i, at, f.Size, f.StartNS, "the manifest has a fragment of %d bytes at %d, where one is to begin at %d", f.Size, f.At, at)
			return false
		case int(f.Source) >= len(m.Sources) || int(f.Epoch) >= len(m.Epochs) || f.StartNS > f.EndNS:
			v.problem(i, at, f.Size, f.StartNS, "the manifest contradicts itself about this fragment")
			return false
		case f.Size == 0 && m.Header.Fragment != i:
			v.problem(i, at, 0, f.StartNS, "nothing of this fragment is in the file")
			return false
		}
		at += f.Size
	}
	for i := range m.Units {
		u := &m.Units[i]
		if u.Fragment < 0 || u.Fragment >= len(m.Fragments) || u.At < 0 || u.At+int64(u.Size) > m.At {
			v.problem(-1, u.At, int64(u.Size), 0, "the manifest has an access unit outside of the file")
			return false
		}
	}
	if at != m.At {
		v.problem(-1, at, m.At-at, 0, "%d bytes between the last fragment and the manifest are in no list: added, or taken away", m.At-at)
		return false
	}
	return true
}

// piece reads a piece of the file; the slice is valid until the next call.
func (v *verifier) piece(at, size int64) ([]byte, error) {
	if int64(cap(v.buf)) < size {
		v.buf = make([]byte, size)
	}
	b := v.buf[:size]
	if err := readFull(v.r, b, at); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", size, at, err)
	}
	return b, nil
}

func (v *verifier) header() error {
	h := &v.m.Header
	b, err := v.piece(0, h.Size)
	if err != nil {
		return err
	}
	if sha256.Sum256(b) == h.Sum {
		return nil
	}
	if v.units(b, 0) == 0 {
		v.problem(-1, 0, h.Size, 0, "the header of the file is not the one that was signed")
	}
	return nil
}

// units checks the access units in a piece of the file, which starts at an offset, and
// returns how many are not as they were.
func (v *verifier) units(b []byte, at int64) (bad int) {
	for i := range v.m.Units {
		u := &v.m.Units[i]
		if u.At < at || u.At+int64(u.Size) > at+int64(len(b)) {
			continue
		}
		if sha256.Sum256(b[u.At-at:u.At-at+int64(u.Size)]) != u.Sum {
			bad++
			v.problem(u.Fragment, u.At, int64(u.Size), u.Time.UnixNano(), "an access unit of track %d was changed", u.Track)
		}
	}
	return bad
}

func (v *verifier) fragment(i int) error {
	f := &v.m.Fragments[i]
	b, err := v.piece(f.At, f.Size)
	if err != nil {
		return err
	}
	if f.Trimmed {
		if sha256.Sum256(b) == f.Sum {
			v.report.Trimmed++
			return nil
		}
		if v.units(b, f.At) == 0 {
			v.problem(i, f.At, f.Size, f.StartNS, "the times of this part of a fragment were changed")
		}
		return nil
	}
	if f.Size != f.Recorded {
		v.problem(i, f.At, f.Size, f.StartNS, "it has %d bytes, recorded were %d", f.Size, f.Recorded)
		return nil
	}
	r := media.Retiming{Sequence: uint32(i + 1), WindowNS: f.WindowNS, BaseNS: v.m.BaseNS}
	if err := media.Unretime(b, v.m.Sources[f.Source].Tracks, r, f.First); err != nil {
		v.problem(i, f.At, f.Size, f.StartNS, "its header was changed: %v", err)
		return nil
	}
	if sum := sha256.Sum256(b); sum != f.Hash {
		v.problem(i, f.At, f.Size, f.StartNS, "it is not what was recorded: SHA-256 %x… instead of %x…", sum[:6], f.Hash[:6])
		return nil
	}
	v.report.Whole++
	return nil
}

// holeNS is how long nothing may be shown between two fragments without a word: the end
// of a session is a guess.
const holeNS = int64(time.Second)

// holes checks that whatever is missing between the fragments is declared.
func (v *verifier) holes() {
	m := v.m
	said := make([]Stretch, 0, len(m.Gaps)+len(m.Unknown))
	for i := range m.Gaps {
		said = append(said, m.Gaps[i].Stretch)
	}
	for i := range m.Unknown {
		said = append(said, m.Unknown[i].Stretch)
	}
	slices.SortFunc(said, func(a, b Stretch) int { return a.Start.Compare(b.Start) })
	declared := func(from, to int64) bool {
		// What is missing may be declared in parts that follow each other.
		at := from
		for _, s := range said {
			if s.Start.UnixNano() <= at+holeNS {
				at = max(at, s.End.UnixNano())
			}
		}
		return at >= to-holeNS
	}
	covered := m.From.UnixNano()
	order := make([]int, len(m.Fragments)) // one that is in the header only is the last
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(m.Fragments[a].StartNS, m.Fragments[b].StartNS) })
	for _, i := range order {
		f := &m.Fragments[i]
		if f.StartNS > covered+holeNS && !declared(covered, f.StartNS) {
			v.problem(i, f.At, 0, covered, "footage is missing before it for %v, and the manifest does not say so", time.Duration(f.StartNS-covered))
		}
		covered = max(covered, f.EndNS)
	}
}
