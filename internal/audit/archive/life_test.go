package archive_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit/archive"
)

func TestWhatIsArchivedVerifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(250)
	p := w.advance()
	if p.Events != 250 || p.Segments != 3 || p.Pending != 0 || !p.Oldest.IsZero() {
		t.Errorf("%+v", p)
	}
	if st := w.state(); st.Upto != 250 || st.Segments != 3 || st.Bytes != p.Bytes || st.Halted != "" {
		t.Errorf("%+v", st)
	}
	w.record(30)
	w.advance()
	r := w.sound(280)
	if r.Segments != 4 || r.Size != 280 || r.Locked.Before(time.Now().Add(retention-time.Hour)) || r.Locked.After(time.Now().Add(retention+time.Hour)) {
		t.Errorf("%+v", r)
	}
	for _, key := range []string{archive.SegmentKey(w.tenant.ID, 1), archive.CheckpointKey(w.tenant.ID, 280)} {
		if body := w.fetch(key); bytes.Contains(body, []byte("acme")) {
			t.Errorf("%s names the tenant", key)
		}
	}
}
