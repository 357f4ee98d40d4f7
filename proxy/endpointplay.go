package proxy

import (
	"encoding/binary"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

// OnResponse implements gortsplib.ServerHandlerOnResponse. It is there that a session
// plays already and its reader has not been told: what it missed can follow the answer,
// and nothing is lost between the two.
func (e *endpoint) OnResponse(conn *gortsplib.ServerConn, res *base.Response) {
	session := conn.Session()
	if session == nil || res.StatusCode != base.StatusOK {
		return
	}
	r, ok := session.UserData().(*reader)
	if !ok {
		return
	}
	if medias := session.SetuppedMedias(); len(res.Header["Transport"]) > 0 && len(medias) > 0 {
		var th headers.Transport
		if th.Unmarshal(res.Header["Transport"]) == nil && th.InterleavedIDs != nil {
			r.channels[medias[len(medias)-1]] = byte(th.InterleavedIDs[0])
		}
		return
	}
	if !r.starts {
		return
	}
	r.starts = false
	c, tcp := conn.NetConn().(*batchConn)
	tcp = tcp && len(r.channels) > 0
	j := r.feed.begin(tcp, func(stream liveStream) {
		if s, ok := stream.(*rtspStream); ok && s.stream == session.SetuppedStream() {
			if !tcp {
				c = nil
			}
			s.count(r, c)
		}
	})
	s, ok := j.stream.(*rtspStream)
	if !ok || s.stream != session.SetuppedStream() || j.atNS == 0 {
		return
	}
	announce(res, session.SetuppedMedias(), s, &j)
	if tcp && len(j.packets) > 0 {
		c.follow(s.burst(j.packets, r.channels), s.newest(&j))
	}
}

// announce says in the answer to PLAY which UTC instant the stream begins at, and which
// numbers it has then (RFC 2326 12.29, 12.33): a reader need not wait for a sender report.
func announce(res *base.Response, medias []*description.Media, s *rtspStream, j *joining) {
	res.Header["Range"] = headers.Range{Value: &headers.RangeUTC{Start: time.Unix(0, j.atNS).UTC()}}.Marshal()
	var info headers.RTPInfo
	if info.Unmarshal(res.Header["RTP-Info"]) != nil || len(info) != len(medias) {
		return
	}
	for i, m := range medias {
		for k := range s.tracks {
			if s.tracks[k].media == m && j.tracks[k].known {
				info[i].SequenceNumber, info[i].Timestamp = &j.tracks[k].first, &j.tracks[k].ts
			}
		}
	}
	res.Header["RTP-Info"] = info.Marshal()
}

// burst returns packets as interleaved frames (RFC 2326 10.12).
func (s *rtspStream) burst(packets []sentPacket, channels map[*description.Media]byte) []byte {
	size := 0
	for i := range packets {
		size += 4 + len(packets[i].raw)
	}
	out := make([]byte, 0, size)
	for i := range packets {
		p := &packets[i]
		t := &s.tracks[p.track]
		channel, ok := channels[t.media]
		if t.media == nil || !ok {
			continue
		}
		out = append(out, '$', channel)
		out = binary.BigEndian.AppendUint16(out, uint16(len(p.raw)))
		at := len(out)
		out = append(out, p.raw...)
		out[at+1] = out[at+1]&0x80 | t.media.Formats[0].PayloadType()
		binary.BigEndian.PutUint16(out[at+2:], p.seq)
		binary.BigEndian.PutUint32(out[at+4:], p.ts)
		binary.BigEndian.PutUint32(out[at+8:], t.ssrc)
	}
	return out
}

// newest returns the sequence numbers of the newest packets sent, by SSRC.
func (s *rtspStream) newest(j *joining) map[uint32]uint16 {
	out := make(map[uint32]uint16, len(s.tracks))
	for i := range s.tracks {
		if s.tracks[i].media != nil && j.tracks[i].known {
			out[s.tracks[i].ssrc] = j.tracks[i].last
		}
	}
	return out
}
