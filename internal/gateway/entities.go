package gateway

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/fault"
	"github.com/Nissimmiracles/openclaw/internal/inspect/render"
)

// maxHeld is the largest answer that is encoded for a tenant whose pages put
// our strings into HTML. A larger one fails.
const maxHeld = 16 << 20

// held is a JSON answer waiting to be entity-encoded whole.
type held struct {
	status int
	body   []byte
	full   bool
}

// hold decides, when an answer begins, whether it is one to encode: JSON of our
// own, for a tenant that asked for it. What an upstream says is its own.
func (g *guard) hold(status int) bool {
	if !g.x.encode || g.x.upstream != nil {
		return false
	}
	kind, _, err := mime.ParseMediaType(g.Header().Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return false
	}
	g.held = &held{status: status}
	return true
}

func (h *held) write(b []byte) {
	if h.full = h.full || len(h.body)+len(b) > maxHeld; !h.full {
		h.body = append(h.body, b...)
	}
}

// finish encodes and sends what was held. An answer that cannot be encoded is
// not sent as it is.
func (g *guard) finish() {
	h := g.held
	if h == nil {
		return
	}
	g.held = nil
	body, err := []byte(nil), error(nil)
	switch {
	case h.full:
		err = fault.New(fault.Internal, "the answer is too large to be entity-encoded; ask for less at a time")
	case len(h.body) > 0:
		if body, err = render.EncodeEntities(h.body); err != nil {
			err = fault.Wrap(err, fault.Internal, "the answer could not be entity-encoded")
		}
	}
	if err != nil {
		g.x.fault = Public(err)
		g.status = http.StatusInternalServerError
		writeProblem(g.ResponseWriter, g.x.fault)
		return
	}
	g.Header().Set("Content-Length", strconv.Itoa(len(body)))
	g.ResponseWriter.WriteHeader(h.status)
	n, _ := g.ResponseWriter.Write(body)
	g.bytes += int64(n)
}

// FlushError keeps a flush from sending the header of an answer that is held.
func (g *guard) FlushError() error {
	if g.held != nil {
		return nil
	}
	return http.NewResponseController(g.ResponseWriter).Flush()
}
