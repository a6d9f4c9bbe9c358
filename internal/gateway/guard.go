package gateway

import (
	"bufio"
	"errors"
	"net"
	"net/http"

	"github.com/Nissimmiracles/openclaw/internal/fault"
)

// guard is the last hand on an answer: it sets the security headers, and holds
// a refusal back until its event is durable. No receipt, no answer.
type guard struct {
	http.ResponseWriter
	x      *Exchange
	status int
	bytes  int64
	mute   bool // the handler's body is replaced by a problem
	leaked bool // the answer held what it must not, and ended there
	held   *held
}

// Unwrap lets http.ResponseController reach Flush and deadlines.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// Hijack gives the connection to the protocol that an upstream agreed to.
func (g *guard) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(g.ResponseWriter).Hijack()
	if err == nil {
		g.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

func (g *guard) WriteHeader(status int) {
	if g.status != 0 {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		g.ResponseWriter.WriteHeader(status)
		return
	}
	if status >= 400 {
		if err := g.x.settleRefusal(status); err != nil {
			g.mute = true
			h := g.Header()
			h.Del("Content-Length")
			h.Del("Content-Encoding")
			g.status = http.StatusServiceUnavailable
			writeProblem(g.ResponseWriter, fault.New(fault.NoRecord, "the refusal could not be recorded, so nothing else is said"))
			return
		}
	}
	if status < 400 {
		if err := g.x.settleRead(status); err != nil {
			g.mute = true
			h := g.Header()
			for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "ETag"} {
				h.Del(name)
			}
			g.status = http.StatusServiceUnavailable
			writeProblem(g.ResponseWriter, fault.New(fault.NoRecord, "the read could not be recorded, so nothing is shown"))
			return
		}
	}
	g.status = status
	if g.hold(status) {
		return
	}
	g.ResponseWriter.WriteHeader(status)
}

func (g *guard) Write(b []byte) (int, error) {
	if g.status == 0 {
		g.WriteHeader(http.StatusOK)
	}
	if g.mute {
		return len(b), nil
	}
	if g.held != nil {
		g.held.write(b)
		return len(b), nil
	}
	if w := g.x.watch; w != nil && w.Looking() {
		// What comes encoded though we asked for plain bytes cannot be looked at.
		e := g.Header().Get("Content-Encoding")
		if g.leaked = g.leaked || e != "" && e != "identity" || w.Saw(b); g.leaked {
			return 0, errLeaked
		}
	}
	n, err := g.ResponseWriter.Write(b)
	g.bytes += int64(n)
	return n, err
}

// errLeaked ends an answer that holds a canary.
var errLeaked = errors.New("the answer holds what the prompt keeps to itself")

// secure is sent with every answer. The API renders nothing, so its policy
// allows nothing; pages set their own Content-Security-Policy over this one.
var secure = [...]struct {
	name  string
	value []string
}{
	{"Strict-Transport-Security", []string{"max-age=63072000; includeSubDomains"}},
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"X-Frame-Options", []string{"DENY"}},
	{"Referrer-Policy", []string{"no-referrer"}},
	{"Permissions-Policy", []string{"accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()"}},
	{"Content-Security-Policy", []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}},
	{"Cross-Origin-Resource-Policy", []string{"same-origin"}},
	{"Cross-Origin-Opener-Policy", []string{"same-origin"}},
	{"Cache-Control", []string{"no-store"}},
}

// setSecure shares the value slices between answers: handlers replace header
// values with Set, they never append to these.
func setSecure(h http.Header) {
	for i := range secure {
		h[secure[i].name] = secure[i].value[:1:1]
	}
}
