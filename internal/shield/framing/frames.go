package framing

import "encoding/binary"

// Preface is what an HTTP/2 client sends before its first frame (RFC 9113
// section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// FrameType is RFC 9113 section 6's.
type FrameType uint8

// Frame types.
const (
	DataFrame         FrameType = 0
	HeadersFrame      FrameType = 1
	ResetFrame        FrameType = 3
	SettingsFrame     FrameType = 4
	PingFrame         FrameType = 6
	GoAwayFrame       FrameType = 7
	ContinuationFrame FrameType = 9
)

// Flags of frames; which one a bit is depends on the type.
const (
	Ack        = 0x1 // SETTINGS, PING
	EndStream  = 0x1 // DATA, HEADERS
	EndHeaders = 0x4 // HEADERS, CONTINUATION
)

// Frame is one frame's header, and a RST_STREAM's code.
type Frame struct {
	Type   FrameType
	Flags  uint8
	Length uint32 // of the payload, bytes
	Stream uint32
	Code   uint32 // ResetFrame only
}

// Frames follows the frames of one direction of an HTTP/2 connection, however
// they fall into reads. It believes every length, as it only counts; whoever
// serves the connection judges. It holds nothing of a payload and is not safe
// for concurrent use.
type Frames struct {
	See  func(Frame) // called once a frame's header, or a RST_STREAM's code, is complete
	Skip uint64      // bytes before the next frame: len(Preface) for a client's direction

	head  [9]byte
	have  int
	frame Frame
	code  int // bytes of a RST_STREAM's code that are still to come
}

// Feed takes the next bytes as they arrived. It keeps no reference to p.
func (f *Frames) Feed(p []byte) {
	for len(p) > 0 {
		switch {
		case f.code > 0:
			f.frame.Code = f.frame.Code<<8 | uint32(p[0])
			p = p[1:]
			if f.code--; f.code == 0 {
				f.See(f.frame)
			}
			continue
		case f.Skip > 0:
			n := min(uint64(len(p)), f.Skip)
			f.Skip -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		p = p[n:]
		if f.have += n; f.have < len(f.head) {
			return
		}
		f.have = 0
		f.frame = Frame{
			Length: uint32(f.head[0])<<16 | uint32(f.head[1])<<8 | uint32(f.head[2]),
			Type:   FrameType(f.head[3]), Flags: f.head[4],
			Stream: binary.BigEndian.Uint32(f.head[5:]) & (1<<31 - 1),
		}
		f.Skip = uint64(f.frame.Length)
		if f.frame.Type == ResetFrame && f.frame.Length >= 4 {
			f.code, f.Skip = 4, f.Skip-4
			continue
		}
		f.See(f.frame)
	}
}
