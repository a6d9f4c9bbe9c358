package framing

import (
	"bytes"
	"io"
	"reflect"
	"testing"

	"golang.org/x/net/http2"
)

// conversation is a client's bytes with every kind of frame, and how many.
func conversation(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(Preface)
	f := http2.NewFramer(&b, nil)
	for _, err := range []error{
		f.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("abc")}),
		f.WriteContinuation(1, true, nil),
		f.WriteData(1, false, bytes.Repeat([]byte{0xff}, 5000)),
		f.WriteData(1, true, nil),
		f.WriteRSTStream(1, http2.ErrCodeFlowControl),
		f.WritePing(false, [8]byte{3}),
		f.WriteWindowUpdate(0, 1<<31-1),
		f.WriteRawFrame(0xbe, 0xff, 1<<31-1, []byte{0, 0, 4, 3, 0}), // a payload like a RST_STREAM's header
		f.WriteRawFrame(http2.FrameRSTStream, 0, 3, []byte{1}),      // too short for a code
		f.WriteGoAway(1, http2.ErrCodeNo, []byte("bye")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func seen(data []byte, step int) (all []Frame) {
	f := Frames{Skip: uint64(len(Preface)), See: func(x Frame) { all = append(all, x) }}
	for len(data) > 0 {
		n := min(step, len(data))
		f.Feed(data[:n])
		data = data[n:]
	}
	return all
}

func TestFrames(t *testing.T) {
	t.Parallel()
	want := []Frame{
		{Type: SettingsFrame, Length: 6}, {Type: HeadersFrame, Length: 3, Stream: 1},
		{Type: ContinuationFrame, Flags: EndHeaders, Stream: 1}, {Type: DataFrame, Length: 5000, Stream: 1},
		{Type: DataFrame, Flags: EndStream, Stream: 1}, {Type: ResetFrame, Length: 4, Stream: 1, Code: 3},
		{Type: PingFrame, Length: 8}, {Type: 8, Length: 4}, {Type: 0xbe, Flags: 0xff, Length: 5, Stream: 1<<31 - 1},
		{Type: ResetFrame, Length: 1, Stream: 3}, {Type: GoAwayFrame, Length: 11},
	}
	for _, step := range steps {
		if got := seen(conversation(t), step); !reflect.DeepEqual(got, want) {
			t.Errorf("in steps of %d: %+v", step, got)
		}
	}
}

// In any division into reads the frames are the same, and they are those that
// the library's framer reads.
func FuzzFrames(f *testing.F) {
	f.Add(conversation(f)[len(Preface):], 3)
	f.Add([]byte{0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		data = append([]byte(Preface), data...)
		whole := seen(data, len(data))
		if parts := seen(data, max(step, 1)&1023+1); !reflect.DeepEqual(whole, parts) {
			t.Fatalf("whole %+v, in parts %+v", whole, parts)
		}
		fr := http2.NewFramer(io.Discard, bytes.NewReader(data[len(Preface):]))
		fr.SetMaxReadFrameSize(1<<24 - 1)
		for i := 0; ; i++ {
			x, err := fr.ReadFrame()
			if err != nil {
				return // the library also judges what is in a frame
			}
			h := x.Header()
			if i >= len(whole) || uint8(whole[i].Type) != uint8(h.Type) || whole[i].Stream != h.StreamID || whole[i].Length != h.Length || whole[i].Flags != uint8(h.Flags) {
				t.Fatalf("frame %d is %v, seen %+v", i, h, whole)
			}
			if r, ok := x.(*http2.RSTStreamFrame); ok && whole[i].Code != uint32(r.ErrCode) {
				t.Fatalf("code %v, seen %+v", r.ErrCode, whole[i])
			}
		}
	})
}
