package media

import "encoding/binary"

// moovTrack is what a moov says of one track.
type moovTrack struct {
	id, timescale uint32
	kind          Kind
	width, height int
	entries       [][]byte // sample entries, whole boxes
	mediaTime     int64    // where the presentation starts, in ticks; 0: at the start
	emptyMS       int64    // the track starts so much later than the presentation

	// Samples that are described here, one chunk at an offset in the file; nil: none.
	run            *trackRun
	runAt          uint32
	runDescription uint32
	runLead        int32 // added to the composition offsets

	// table describes all samples of a file without fragments, which are at tableAt; nil:
	// there are fragments. mediaTicks is how long they are.
	table      *progressiveTrack
	tableAt    int64
	mediaTicks int64
	emptyTicks int64 // as emptyMS, in ticks of the movie
}

// movie is what a moov says of the whole.
type movie struct {
	edit       bool  // write an edit list
	durationMS int64 // of the presentation; 0: not known

	// Without fragments, times are exact: ticks per second, and how long it is in ticks.
	whole     bool
	timescale uint32
	duration  int64
}

// movieTimescale is that of mvhd, tkhd and elst: milliseconds.
const movieTimescale = 1000

// matrix is the identity (ISO/IEC 14496-12 8.2.2.3).
const matrix = "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00"

// ftyp returns the ftyp box. iso6 is what a moof needs that counts its offsets
// from itself and has signed composition offsets (ISO/IEC 14496-12 E.8).
func ftyp() []byte {
	b := appendBoxHeader(nil, 36, "ftyp")
	return append(b, "iso6\x00\x00\x00\x00iso6iso5mp41isomhlsf"...)
}

// appendMoov appends a moov box without samples, for fragments (ISO/IEC 14496-12 8.2.1).
func appendMoov(b []byte, tracks []moovTrack, m movie) []byte {
	w := boxWriter{b: b}
	scale, duration := uint32(movieTimescale), m.durationMS
	if m.whole {
		scale, duration = m.timescale, m.duration
	}
	w.box("moov", func() {
		w.full("mvhd", 0, 0, func() {
			w.u32(0, 0, scale, uint32(duration))
			w.u32(0x00010000) // rate
			w.b = append(w.b, 1, 0)
			w.zero(10)
			w.b = append(w.b, matrix...)
			w.zero(24)
			next := uint32(1)
			for _, t := range tracks {
				next = max(next, t.id+1)
			}
			w.u32(next)
		})
		for i := range tracks {
			w.track(&tracks[i], m)
		}
		if m.whole {
			return
		}
		w.box("mvex", func() {
			if m.durationMS > 0 {
				w.full("mehd", 0, 0, func() { w.u32(uint32(m.durationMS)) })
			}
			for _, t := range tracks {
				w.full("trex", 0, 0, func() { w.u32(t.id, 1, 0, 0, 0) })
			}
		})
	})
	return w.b
}

// boxWriter appends boxes whose size is known when their content is written.
type boxWriter struct{ b []byte }

func (w *boxWriter) box(typ string, content func()) {
	at := len(w.b)
	w.b = appendBoxHeader(w.b, 0, typ)
	content()
	binary.BigEndian.PutUint32(w.b[at:], uint32(len(w.b)-at))
}

func (w *boxWriter) full(typ string, version uint8, flags uint32, content func()) {
	w.box(typ, func() {
		w.u32(uint32(version)<<24 | flags)
		content()
	})
}

func (w *boxWriter) u32(v ...uint32) {
	for _, v := range v {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
	}
}

func (w *boxWriter) u16(v ...uint16) {
	for _, v := range v {
		w.b = binary.BigEndian.AppendUint16(w.b, v)
	}
}

func (w *boxWriter) zero(n int) { w.b = append(w.b, make([]byte, n)...) }

func (w *boxWriter) track(t *moovTrack, m movie) {
	video := t.kind == KindVideo
	duration, empty := m.durationMS, t.emptyMS
	if m.whole {
		duration, empty = m.duration, t.emptyTicks
	}
	w.box("trak", func() {
		w.full("tkhd", 0, 3, func() { // enabled, in movie
			w.u32(0, 0, t.id, 0, uint32(duration))
			w.zero(8)
			if video {
				w.u16(0, 0, 0, 0) // layer, group, volume
			} else {
				w.u16(0, 1, 0x0100, 0)
			}
			w.b = append(w.b, matrix...)
			w.u32(uint32(t.width)<<16, uint32(t.height)<<16)
		})
		if m.edit {
			w.box("edts", func() {
				w.full("elst", 1, 0, func() {
					edit := func(duration, mediaTime int64) {
						w.u32(0, uint32(duration))
						w.b = binary.BigEndian.AppendUint64(w.b, uint64(mediaTime))
						w.u16(1, 0) // rate
					}
					if empty == 0 {
						w.u32(1)
						edit(duration, t.mediaTime)
						return
					}
					w.u32(2)
					edit(empty, -1) // an empty edit
					edit(max(duration-empty, 0), t.mediaTime)
				})
			})
		}
		w.box("mdia", func() {
			w.full("mdhd", 0, 0, func() {
				w.u32(0, 0, t.timescale, uint32(t.mediaTicks))
				w.u16(0x55c4, 0) // und
			})
			w.full("hdlr", 0, 0, func() {
				if video {
					w.b = append(w.b, "\x00\x00\x00\x00vide\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00VideoHandler\x00"...)
				} else {
					w.b = append(w.b, "\x00\x00\x00\x00soun\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00SoundHandler\x00"...)
				}
			})
			w.box("minf", func() {
				if video {
					w.full("vmhd", 0, 1, func() { w.zero(8) })
				} else {
					w.full("smhd", 0, 0, func() { w.zero(4) })
				}
				w.box("dinf", func() {
					w.full("dref", 0, 0, func() {
						w.u32(1)
						w.full("url ", 0, 1, func() {}) // in this file
					})
				})
				w.box("stbl", func() {
					w.full("stsd", 0, 0, func() {
						w.u32(uint32(len(t.entries)))
						for _, e := range t.entries {
							w.b = append(w.b, e...)
						}
					})
					w.samples(t)
				})
			})
		})
	})
}

// samples writes the tables of a track's samples (ISO/IEC 14496-12 8.6, 8.7).
func (w *boxWriter) samples(t *moovTrack) {
	if t.table != nil {
		w.tables(t.table, t.tableAt)
		return
	}
	if t.run == nil {
		for _, typ := range [...]string{"stts", "stsc"} {
			w.full(typ, 0, 0, func() { w.u32(0) })
		}
		w.full("stsz", 0, 0, func() { w.u32(0, 0) })
		w.full("stco", 0, 0, func() { w.u32(0) })
		return
	}
	n := uint32(len(t.run.samples))
	w.full("stts", 0, 0, func() {
		w.u32(n)
		for _, s := range t.run.samples {
			w.u32(1, s.duration)
		}
	})
	w.full("ctts", 1, 0, func() {
		w.u32(n)
		for _, s := range t.run.samples {
			w.u32(1, uint32(s.offset+t.runLead))
		}
	})
	w.full("stss", 0, 0, func() {
		at := len(w.b)
		w.u32(0)
		count := uint32(0)
		for i, s := range t.run.samples {
			if s.flags == syncSample {
				w.u32(uint32(i) + 1)
				count++
			}
		}
		binary.BigEndian.PutUint32(w.b[at:], count)
	})
	w.full("stsc", 0, 0, func() { w.u32(1, 1, n, t.runDescription) })
	w.full("stsz", 0, 0, func() {
		w.u32(0, n)
		for _, s := range t.run.samples {
			w.u32(s.size)
		}
	})
	w.full("stco", 0, 0, func() { w.u32(1, t.runAt) })
}

// entrySize returns width and height of a VisualSampleEntry (ISO/IEC 14496-12 12.1.3).
func entrySize(entry []byte) (width, height int) {
	if len(entry) < 36 {
		return 0, 0
	}
	return int(binary.BigEndian.Uint16(entry[32:])), int(binary.BigEndian.Uint16(entry[34:]))
}

// pcmEntry returns the sample entry of big-endian LPCM, nil where the depth has none.
func pcmEntry(bits, channels, sampleRate int) []byte {
	typ, ok := map[int]string{8: "raw ", 16: "twos", 24: "in24"}[bits]
	if !ok || channels < 1 || channels > 255 || sampleRate < 1 {
		return nil
	}
	var w boxWriter
	w.box(typ, func() {
		w.zero(6)
		w.u16(1) // data reference
		w.zero(8)
		w.u16(uint16(channels), uint16(bits), 0, 0)
		w.u32(uint32(min(sampleRate, 0xffff)) << 16)
	})
	return w.b
}
