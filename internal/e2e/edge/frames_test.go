package edge

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// Floods of HTTP/2 frames over TLS against a real process: each connection is
// ended, the address is blocked with its reason, memory stays where it was, and
// an honest client is answered on the connection it has had all along.
func TestFloodsOfFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, balancer)
	watch := w.start(t, nil) // reads the same log, and follows the same blocks
	p := w.spawn(t, map[string]string{"GOMEMLIMIT": "off"})
	s := &siege{t: t, p: p}
	t.Cleanup(s.leave)
	honest := closing(t, p.dial(nil, proxied("198.51.100.50")))
	ask{to: p.replica, client: honest, path: "/livez"}.send(t).want(t, 200)
	before, _ := p.memory(t)

	head := func(f *http2.Framer, id uint32, block []byte, end bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: end})
	}
	for i, attack := range []struct {
		name, reason string // reason: any of these; requests that are answered are refused for want of a token
		write        func(f *http2.Framer, id uint32, block []byte) error
	}{
		{"rapid reset", "rapid_reset frame_flood denied", func(f *http2.Framer, id uint32, block []byte) error {
			if err := head(f, id, block, true); err != nil {
				return err
			}
			return f.WriteRSTStream(id, http2.ErrCodeCancel)
		}},
		{"made you reset", "rapid_reset frame_flood denied", func(f *http2.Framer, id uint32, block []byte) error {
			if err := head(f, id, block, true); err != nil {
				return err
			}
			return f.WriteRawFrame(http2.FrameWindowUpdate, 0, id, []byte{0, 0, 0, 0})
		}},
		{"continuation", "header_flood oversize", func(f *http2.Framer, id uint32, block []byte) error {
			if id == 1 {
				return head(f, 1, block, false)
			}
			return f.WriteContinuation(1, false, nil)
		}},
		{"settings", "frame_flood", func(f *http2.Framer, _ uint32, _ []byte) error { return f.WriteSettings() }},
		{"ping", "frame_flood", func(f *http2.Framer, _ uint32, _ []byte) error { return f.WritePing(false, [8]byte{}) }},
		{"priority", "frame_flood", func(f *http2.Framer, id uint32, _ []byte) error {
			return f.WritePriority(id, http2.PriorityParam{StreamDep: 0})
		}},
		{"no request", "rapid_reset frame_flood", func(f *http2.Framer, id uint32, _ []byte) error { return head(f, id, []byte{0x82}, true) }},
	} {
		from := fmt.Sprintf("203.0.113.%d", i+1)
		tries, sent := 0, 0
		for ; tries < 20 && !dropped(t, p.replica, proxied(from)); tries++ {
			n, alive := s.flood2(from, 200_000, attack.write)
			if sent += n; alive {
				t.Errorf("%s: %d frames and still connected", attack.name, n)
			}
		}
		t.Logf("%s: blocked after %d connections and %d frames written", attack.name, tries, sent)
		event(t, watch.House, audit.DDoSBlocked, attack.name, func(e audit.Entry) bool {
			if e.Reason != "block_placed" || e.IP != from {
				return false
			}
			for r := range strings.FieldsSeq(attack.reason) {
				if strings.Contains(string(e.Details), `"`+r+`"`) {
					return true
				}
			}
			t.Fatalf("%s is blocked for %s", attack.name, e.Details)
			return false
		})
		until(t, attack.name+" is out on the other replica", func() bool { return dropped(t, watch, proxied(from)) })
		ask{to: p.replica, client: honest, path: "/livez"}.send(t).want(t, 200)
	}
	after, most := p.memory(t)
	t.Logf("memory %d MB before, %d MB after, %d MB at most", before>>20, after>>20, most>>20)
	if most > before+128<<20 {
		t.Errorf("memory went from %d MB to %d MB", before>>20, most>>20)
	}
}
