package e2e

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/audit"
)

// An export over the network whose connection is killed, again and again, and
// which is resumed after the last whole record each time, is in the end the same
// bytes as an unbroken one, in every format; each part is in the log, and each
// that broke off says so.
func TestKilledExportsResumeByteForByte(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	events := make([]audit.Event, 4000)
	for i := range events {
		events[i] = audit.Event{Type: audit.APIRequest, Outcome: audit.Success, Action: "memories.read", Resource: fmt.Sprint("memory/", i),
			Actor: audit.Actor{Kind: audit.ActorUser, ID: "u", Name: "Ann"}, UserAgent: "a \"quoted\"\r\nagent", Details: map[string]any{"pad": strings.Repeat("x", 400)}}
	}
	if _, err := c.room.RecordAll(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"jsonl", "csv", "ocsf"} {
		broken := 0
		var whole []byte
		for after := int64(0); ; broken++ {
			cursor := ""
			if after > 0 {
				cursor = fmt.Sprint("&cursor=", after)
			}
			req, err := http.NewRequestWithContext(t.Context(), "GET", east.url+fmt.Sprintf("/v1/audit/export?format=%s", format)+cursor, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok)
			client := newClient(nil)
			resp, err := client.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
			if header := strings.HasSuffix(resp.Header.Get("Content-Type"), "header=present"); format == "csv" && header != (after == 0) {
				t.Errorf("after %d: %s", after, resp.Header.Get("Content-Type"))
			}
			limit := int64(700_001)
			if broken == 3 {
				limit = 1 << 40
			}
			got, err := io.ReadAll(io.LimitReader(bufio.NewReader(resp.Body), limit))
			_ = resp.Body.Close() // in the middle of it, all but the last time
			client.CloseIdleConnections()
			if err != nil {
				t.Fatal(err)
			}
			if broken == 3 {
				whole = append(whole, got...)
				break
			}
			if int64(len(got)) < limit {
				t.Fatalf("%s: the whole of it is %d bytes: nothing to break", format, len(got))
			}
			part, last := wholeRecords(got, format)
			whole, after = append(whole, part...), last
		}
		again := get(t, tok, "/v1/audit/export?format="+format).want(t, 200).body
		if len(whole) < 1_000_000 || !bytes.HasPrefix(again, whole) {
			t.Errorf("%s: in parts %d bytes, no beginning of the %d of an unbroken one", format, len(whole), len(again))
		}
	}
	// The platform learns of a broken connection when it next writes to it.
	n := 0
	for end := time.Now().Add(20 * time.Second); n != 9 && time.Now().Before(end); {
		n = bytes.Count(get(t, tok, "/v1/audit/export?type=DATA_EXPORTED&outcome=failed").want(t, 200).body, []byte("\n"))
	}
	if n != 9 {
		t.Errorf("the log has %d exports that broke off, want 9", n)
	}
}

// wholeRecords is what of a cut export is whole, and the last number in it.
func wholeRecords(b []byte, format string) (whole []byte, last int64) {
	if format == "csv" { // whose cells may hold the ends of lines
		r := csv.NewReader(bytes.NewReader(b))
		r.FieldsPerRecord = 18
		for {
			row, err := r.Read()
			if err != nil || b[r.InputOffset()-1] != '\n' {
				return bytes.Clone(whole), last
			}
			whole = b[:r.InputOffset()]
			_, _ = fmt.Sscan(row[0], &last)
		}
	}
	whole = b[:bytes.LastIndexByte(b, '\n')+1]
	line := string(whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:])
	member := map[string]string{"jsonl": `"seq":`, "ocsf": `"sequence":`}[format]
	_, _ = fmt.Sscan(strings.TrimRight(line[strings.LastIndex(line, member)+len(member):], "}\n"), &last)
	if format == "ocsf" {
		_, _ = fmt.Sscanf(line[strings.Index(line, member):], member+"%d", &last)
	}
	return bytes.Clone(whole), last
}
