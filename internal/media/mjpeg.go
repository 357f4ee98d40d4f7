package media

import (
	"encoding/binary"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/jpeg"
)

// jpegState is what an image keeps between its packets, and the tables that later
// images of the fragment refer to.
type jpegState struct {
	scan   int // where the scan starts in data
	tables []byte
}

// mjpeg depacketizes RFC 2435: it puts the headers in front that the packets leave out.
func (t *trackBuilder) mjpeg(p *rtpPacket) bool {
	b := p.payload
	if len(b) < 8 {
		return false
	}
	offset := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	typ, q, width, height := b[4], b[5], 8*int(b[6]), 8*int(b[7])
	b = b[8:]
	if typ&^0x40 > 1 || width == 0 || height == 0 {
		return false
	}
	restart := 0
	if typ&0x40 != 0 { // restart marker header (RFC 2435 3.1.7)
		if len(b) < 4 {
			return false
		}
		restart = int(b[0])<<8 | int(b[1])
		b = b[4:]
	}
	if offset == 0 {
		t.drop(Malformed)
		var ok bool
		if b, ok = t.jpegTables(q, b); !ok {
			return false
		}
		t.open = len(t.data)
		t.data = appendJPEGHeader(t.data, typ&1, width, height, restart, t.jpeg.tables)
		t.jpeg.scan = len(t.data)
		if !t.params.known {
			t.params = streamParams{known: true, width: width, height: height}
		}
	} else if t.open == closed {
		return t.flags&PacketLoss != 0
	}
	if offset != len(t.data)-t.jpeg.scan {
		return false
	}
	t.data = append(t.data, b...)
	if !p.marker {
		return true
	}
	if n := len(t.data); n-t.jpeg.scan < 2 {
		return false
	} else if t.data[n-2] != 0xff || t.data[n-1] != jpeg.MarkerEndOfImage {
		t.data = append(t.data, 0xff, jpeg.MarkerEndOfImage)
	}
	t.open = closed
	return true
}

// jpegTables sets the quantization tables of the image that b starts (RFC 2435 3.1.8,
// 4.2), and returns what follows them.
func (t *trackBuilder) jpegTables(q uint8, b []byte) ([]byte, bool) {
	switch {
	case q >= 1 && q <= 99:
		t.jpeg.tables = appendScaled(t.jpeg.tables[:0], int(q))
		return b, true
	case q < 128 || len(b) < 4:
		return nil, false
	}
	precision, n := b[1], int(binary.BigEndian.Uint16(b[2:]))
	b = b[4:]
	switch {
	case n == 0 && len(t.jpeg.tables) > 0 && q != 255: // those of an image before
		return b, true
	case n != 64 && n != 128 || n > len(b) || precision != 0:
		return nil, false
	}
	t.jpeg.tables = append(t.jpeg.tables[:0], b[:n]...)
	return b[n:], true
}

// appendScaled appends the tables for a quality of 1 … 99 (RFC 2435 appendix A).
func appendScaled(dst []byte, q int) []byte {
	scale := 200 - 2*q
	if q < 50 {
		scale = 5000 / q
	}
	for _, table := range [...]string{jpegLuma, jpegChroma} {
		for _, v := range []byte(table) {
			dst = append(dst, byte(min(max((int(v)*scale+50)/100, 1), 255)))
		}
	}
	return dst
}

// appendJPEGHeader appends everything that comes before the scan (RFC 2435 appendix B).
func appendJPEGHeader(dst []byte, typ uint8, width, height, restart int, tables []byte) []byte {
	dst = jpeg.StartOfImage{}.Marshal(dst)
	var dqt jpeg.DefineQuantizationTable
	for i := 0; i < len(tables); i += 64 {
		dqt.Tables = append(dqt.Tables, jpeg.QuantizationTable{ID: uint8(i / 64), Data: tables[i : i+64]})
	}
	dst = dqt.Marshal(dst)
	if restart > 0 {
		dst = append(dst, 0xff, jpeg.MarkerDefineRestartInterval, 0, 4, byte(restart>>8), byte(restart))
	}
	dst = jpeg.StartOfFrame1{
		Type: typ, Width: width, Height: height, QuantizationTableCount: uint8(len(dqt.Tables)),
	}.Marshal(dst)
	for i, h := range [...]struct{ codes, symbols string }{
		{jpegLumaDCCodes, jpegDCSymbols},
		{jpegLumaACCodes, jpegLumaACSymbols},
		{jpegChromaDCCodes, jpegDCSymbols},
		{jpegChromaACCodes, jpegChromaACSymbols},
	} {
		dst = jpeg.DefineHuffmanTable{
			Codes: []byte(h.codes), Symbols: []byte(h.symbols), TableNumber: i / 2, TableClass: i % 2,
		}.Marshal(dst)
	}
	return jpeg.StartOfScan{}.Marshal(dst)
}
