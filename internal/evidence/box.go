package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/duet-video/duet/internal/media"
)

// boxUUID is the type of the box that holds the manifest.
const boxUUID = "\x0d\x51\xa6\x1e\x8b\x93\x4d\xf4\xb7\x2a\x90\xee\x3c\x65\x1f\x88"

const (
	boxVersion = 1
	// boxHead is size, type, UUID, version and the length of the JSON.
	boxHead = 32
	// FragmentSize is the length of the row of a fragment.
	FragmentSize = 160
	signatureLen = ed25519.SignatureSize
	maxManifest  = 1 << 30
	maxHead      = 64 << 20
)

// domain keeps the signature of a manifest from being taken for one of anything else.
const domain = "duet export manifest v1\n"

// Signer signs manifests.
type Signer struct {
	// Cert is its certificate, DER, issued by the CA of the site for this purpose, and
	// Key the private key to it.
	Cert []byte
	Key  ed25519.PrivateKey
}

// message is what is signed.
func message(digest media.Hash) []byte { return append([]byte(domain), digest[:]...) }

// Box is a manifest as it stands in a file. The rows of fragments are made when they are
// read: it holds no more of them than it was given. It may be read by many at once.
type Box struct {
	prefix, suffix []byte
	rows           int
	row            func(i int, f *Fragment)
	digest         media.Hash
}

// NewBox makes the box of a manifest with n fragments, of which row says what they are;
// row may be called at any time, concurrently, and must give the same answers. A nil
// signer leaves it unsigned.
func NewBox(h *Head, n int, row func(i int, f *Fragment), signer *Signer) (*Box, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("make a manifest: %w", err)
	}
	if signer == nil {
		signer = &Signer{}
	}
	be := binary.BigEndian
	b := &Box{rows: n, row: row}
	tail := 2 + len(signer.Cert) + 4
	if len(signer.Cert) > 0 {
		tail += signatureLen
	}
	size := int64(boxHead+len(text)+4+tail) + int64(n)*FragmentSize
	if size > maxManifest || len(text) > maxHead || len(signer.Cert) > math.MaxUint16 {
		return nil, fmt.Errorf("make a manifest: %d bytes are too many", size)
	}
	b.prefix = be.AppendUint32(b.prefix, uint32(size))
	b.prefix = append(append(b.prefix, "uuid"...), boxUUID...)
	b.prefix = append(b.prefix, boxVersion, 0, 0, 0)
	b.prefix = be.AppendUint32(b.prefix, uint32(len(text)))
	b.prefix = append(b.prefix, text...)
	b.prefix = be.AppendUint32(b.prefix, uint32(n))

	b.suffix = be.AppendUint16(b.suffix, uint16(len(signer.Cert)))
	b.suffix = append(b.suffix, signer.Cert...)
	sum := sha256.New()
	_, _ = sum.Write(b.prefix) // never fails
	buf := make([]byte, 0, FragmentSize)
	for i := range n {
		buf = b.appendRow(buf[:0], i)
		_, _ = sum.Write(buf)
	}
	_, _ = sum.Write(b.suffix)
	sum.Sum(b.digest[:0])
	if len(signer.Cert) > 0 {
		b.suffix = append(b.suffix, ed25519.Sign(signer.Key, message(b.digest))...)
	}
	b.suffix = be.AppendUint32(b.suffix, uint32(size))
	return b, nil
}

// Size returns the length of the box.
func (b *Box) Size() int64 {
	return int64(len(b.prefix)) + int64(b.rows)*FragmentSize + int64(len(b.suffix))
}

// Digest returns the SHA-256 of all that is signed.
func (b *Box) Digest() media.Hash { return b.digest }

// ReadAt implements io.ReaderAt.
func (b *Box) ReadAt(p []byte, at int64) (n int, err error) {
	rowsAt := int64(len(b.prefix))
	suffixAt := rowsAt + int64(b.rows)*FragmentSize
	var row []byte
	for n < len(p) {
		var from []byte
		switch pos := at + int64(n); {
		case pos < rowsAt:
			from = b.prefix[pos:]
		case pos < suffixAt:
			i := (pos - rowsAt) / FragmentSize
			row = b.appendRow(row[:0], int(i))
			from = row[pos-rowsAt-i*FragmentSize:]
		case pos-suffixAt < int64(len(b.suffix)):
			from = b.suffix[pos-suffixAt:]
		default:
			return n, io.EOF
		}
		n += copy(p[n:], from)
	}
	return n, nil
}

func (b *Box) appendRow(dst []byte, i int) []byte {
	var f Fragment
	b.row(i, &f)
	return appendFragment(dst, &f)
}

// appendFragment appends the row of a fragment.
func appendFragment(dst []byte, f *Fragment) []byte {
	be := binary.BigEndian
	for _, v := range [...]uint64{
		uint64(f.At), uint64(f.Size), uint64(f.Recorded), f.First, f.End,
		uint64(f.StartNS), uint64(f.EndNS), uint64(f.WindowNS), f.Recorders,
	} {
		dst = be.AppendUint64(dst, v)
	}
	dst = be.AppendUint32(dst, f.Epoch)
	dst = be.AppendUint32(dst, f.Source)
	flags := uint32(0)
	if f.Trimmed {
		flags = 1
	}
	dst = be.AppendUint32(dst, flags)
	dst = be.AppendUint32(dst, 0)
	dst = append(dst, f.Hash[:]...)
	return append(append(dst, f.Sum[:]...), 0, 0, 0, 0, 0, 0, 0, 0)
}

func parseFragment(b []byte) Fragment {
	be := binary.BigEndian
	u := func(i int) uint64 { return be.Uint64(b[8*i:]) }
	return Fragment{
		At: int64(u(0)), Size: int64(u(1)), Recorded: int64(u(2)), First: u(3), End: u(4),
		StartNS: int64(u(5)), EndNS: int64(u(6)), WindowNS: int64(u(7)), Recorders: u(8),
		Epoch: be.Uint32(b[72:]), Source: be.Uint32(b[76:]), Trimmed: be.Uint32(b[80:])&1 != 0,
		Hash: media.Hash(b[88:120]), Sum: media.Hash(b[120:152]),
	}
}

// ErrNone says that a file does not end with a manifest.
var ErrNone = errors.New("it does not end with a manifest: it is no export of duet, or it was cut short")

// errForm says that a manifest cannot be read.
var errForm = errors.New("its manifest is damaged or was edited")

// Read reads the manifest at the end of a file of size bytes. It checks the form only,
// see Verify.
func Read(r io.ReaderAt, size int64) (*Manifest, error) {
	be := binary.BigEndian
	var end [4]byte
	if size < boxHead+4 {
		return nil, ErrNone
	}
	if err := readFull(r, end[:], size-4); err != nil {
		return nil, err
	}
	length := int64(be.Uint32(end[:]))
	if length < boxHead+4+2+4 || length > size || length > maxManifest {
		return nil, ErrNone
	}
	b := make([]byte, boxHead)
	if err := readFull(r, b, size-length); err != nil {
		return nil, err
	}
	if string(b[4:8]) != "uuid" || string(b[8:24]) != boxUUID {
		return nil, ErrNone
	}
	if int64(be.Uint32(b)) != length || b[24] != boxVersion {
		return nil, fmt.Errorf("%w: size %d, version %d", errForm, be.Uint32(b), b[24])
	}
	b = make([]byte, length)
	if err := readFull(r, b, size-length); err != nil {
		return nil, err
	}
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	m.At, m.Size = size-length, length
	return m, nil
}

// parse reads a whole box.
func parse(b []byte) (*Manifest, error) {
	be := binary.BigEndian
	bad := func(what string) error { return fmt.Errorf("%w: %s", errForm, what) }
	if len(b) < boxHead+4+2+4 {
		return nil, bad("it is too short")
	}
	text := int64(be.Uint32(b[28:]))
	if boxHead+text+4 > int64(len(b)) {
		return nil, bad("its text does not fit")
	}
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(b[boxHead : boxHead+text]))
	if err := d.Decode(&m.Head); err != nil {
		return nil, bad(err.Error())
	}
	at := boxHead + text
	n := int64(be.Uint32(b[at:]))
	at += 4
	if n*FragmentSize+2+4 > int64(len(b))-at {
		return nil, bad(fmt.Sprintf("%d fragments do not fit", n))
	}
	m.Fragments = make([]Fragment, n)
	for i := range m.Fragments {
		m.Fragments[i] = parseFragment(b[at:])
		at += FragmentSize
	}
	cert := int64(be.Uint16(b[at:]))
	at += 2
	want := cert + 4
	if cert > 0 {
		want += signatureLen
	}
	if int64(len(b))-at != want {
		return nil, bad("its certificate does not fit")
	}
	m.Cert = b[at : at+cert]
	at += cert
	m.Digest = sha256.Sum256(b[:at])
	if cert > 0 {
		m.Signature = b[at : at+signatureLen]
	}
	return m, nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
