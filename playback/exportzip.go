package playback

import (
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"time"
)

// Records of a ZIP archive (PKWARE APPNOTE 4.3), all in their 64-bit forms, so that the
// length of an archive follows from the names and lengths of its files alone.
const (
	zipLocal      = 0x04034b50
	zipDescriptor = 0x08074b50
	zipCentral    = 0x02014b50
	zipEnd64      = 0x06064b50
	zipLocator    = 0x07064b50
	zipEnd        = 0x06054b50

	zipVersion = 45     // ZIP64
	zipFlags   = 0x0808 // checksum behind the file, name in UTF-8
	zipMax32   = 0xffffffff
)

// zipWriter writes an archive of files that are stored as they are, of known length.
type zipWriter struct {
	w     io.Writer
	at    int64
	files []zipFile
}

type zipFile struct {
	name string
	size int64
	at   int64
	when time.Time
	sum  uint32
}

func newZIP(w io.Writer) archive { return &zipWriter{w: w} }

func (z *zipWriter) put(b []byte) error {
	n, err := z.w.Write(b)
	z.at += int64(n)
	return err
}

// begin implements archive.
func (z *zipWriter) begin(name string, size int64, when time.Time) error {
	f := zipFile{name: name, size: size, at: z.at, when: when}
	z.files = append(z.files, f)
	le := binary.LittleEndian
	b := le.AppendUint32(nil, zipLocal)
	b = f.appendCommon(b)
	b = le.AppendUint32(b, 0) // the checksum follows
	b = le.AppendUint32(b, zipMax32)
	b = le.AppendUint32(b, zipMax32)
	b = le.AppendUint16(b, uint16(len(name)))
	b = le.AppendUint16(b, 20)
	b = append(b, name...)
	b = le.AppendUint16(b, 1) // ZIP64 extra field
	b = le.AppendUint16(b, 16)
	b = le.AppendUint64(b, uint64(size))
	b = le.AppendUint64(b, uint64(size))
	return z.put(b)
}

// appendCommon appends what local and central headers have in common.
func (f *zipFile) appendCommon(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, zipVersion)
	b = le.AppendUint16(b, zipFlags)
	b = le.AppendUint16(b, 0) // stored
	t := f.when.UTC()
	year := min(max(t.Year()-1980, 0), 127)
	b = le.AppendUint16(b, uint16(t.Hour()<<11|t.Minute()<<5|t.Second()/2))
	return le.AppendUint16(b, uint16(year<<9|int(t.Month())<<5|t.Day()))
}

// sum implements archive.
func (z *zipWriter) sum() hash.Hash { return crc32.NewIEEE() }

// end implements archive.
func (z *zipWriter) end(sum hash.Hash) error {
	f := &z.files[len(z.files)-1]
	f.sum = binary.BigEndian.Uint32(sum.Sum(nil))
	le := binary.LittleEndian
	b := le.AppendUint32(nil, zipDescriptor)
	b = le.AppendUint32(b, f.sum)
	b = le.AppendUint64(b, uint64(f.size))
	b = le.AppendUint64(b, uint64(f.size))
	z.at += f.size
	return z.put(b)
}

// finish implements archive.
func (z *zipWriter) finish() error {
	le := binary.LittleEndian
	start := z.at
	for i := range z.files {
		f := &z.files[i]
		b := le.AppendUint32(nil, zipCentral)
		b = le.AppendUint16(b, 3<<8|zipVersion) // made on Unix
		b = f.appendCommon(b)
		b = le.AppendUint32(b, f.sum)
		b = le.AppendUint32(b, zipMax32)
		b = le.AppendUint32(b, zipMax32)
		b = le.AppendUint16(b, uint16(len(f.name)))
		b = le.AppendUint16(b, 28)
		b = append(b, make([]byte, 6)...)    // comment, disk, internal attributes
		b = le.AppendUint32(b, 0o100644<<16) // mode
		b = le.AppendUint32(b, zipMax32)     // where it begins
		b = append(b, f.name...)
		b = le.AppendUint16(b, 1)
		b = le.AppendUint16(b, 24)
		b = le.AppendUint64(b, uint64(f.size))
		b = le.AppendUint64(b, uint64(f.size))
		b = le.AppendUint64(b, uint64(f.at))
		if err := z.put(b); err != nil {
			return err
		}
	}
	end := z.at
	n := uint64(len(z.files))
	b := le.AppendUint32(nil, zipEnd64)
	b = le.AppendUint64(b, 44)
	b = le.AppendUint16(b, 3<<8|zipVersion)
	b = le.AppendUint16(b, zipVersion)
	b = append(b, make([]byte, 8)...) // disks
	b = le.AppendUint64(b, n)
	b = le.AppendUint64(b, n)
	b = le.AppendUint64(b, uint64(end-start))
	b = le.AppendUint64(b, uint64(start))
	b = le.AppendUint32(b, zipLocator)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(end))
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, zipEnd)
	b = append(b, 0, 0, 0, 0)
	b = append(b, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...) // see the 64-bit one
	b = append(b, 0, 0)
	return z.put(b)
}
