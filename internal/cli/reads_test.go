package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// read asks for the agents under a request id of its own, and reports whether
// the answer came whole.
func (p *platform) read(token, id string) bool {
	req, err := http.NewRequestWithContext(context.Background(), "GET", p.URL+"/v1/agents", nil)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Request-Id", id)
	resp, err := p.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == 200
}

// kill -9 while eight clients read: a read that was answered is in the log, or
// the log says how many are not.
func TestAKillTellsWhichReadsItLost(t *testing.T) {
	t.Parallel()
	data := dataFolder(t)
	tiers := filepath.Join(t.TempDir(), "tiers.yaml")
	if err := os.WriteFile(tiers, unlimitedTiers(t), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"RATE_LIMIT_TIERS_FILE=" + tiers, "DDOS_IP_LIMIT=1000000"}
	const rounds, readers = 3, 8
	answered := map[string]bool{}
	for round := range rounds {
		p := start(t, data, env...)
		token := p.login(t, 0)
		ids := make(chan string, 1<<16)
		ended := make(chan struct{}, readers)
		for w := range readers {
			go func() {
				defer func() { ended <- struct{}{} }()
				for i := 0; ; i++ {
					id := fmt.Sprintf("read-%d-%d-%d", round, w, i)
					if !p.read(token, id) {
						return // the kill
					}
					ids <- id
				}
			}()
		}
		for range 100 + 77*round {
			select {
			case id := <-ids:
				answered[id] = true
			case <-time.After(60 * time.Second):
				t.Fatalf("no answers\n%s", p.errs)
			}
		}
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait()
		for range readers {
			<-ended
		}
		close(ids)
		for id := range ids {
			answered[id] = true
		}
		gone(t, data)
	}

	p := start(t, data, env...)
	token := p.login(t, 0)
	recorded := map[string]bool{}
	var lost, told int64
	walk := func() {
		clear(recorded)
		lost, told = 0, 0
		for cursor := ""; ; {
			var page struct {
				Items []struct {
					Type, Reason string
					RequestID    string `json:"request_id"`
					Details      struct {
						Lost   int64 `json:"lost"`
						AtMost int64 `json:"lost_at_most"`
					}
				}
				Next string `json:"next_cursor"`
			}
			path := "/v1/audit/events?limit=500"
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			if status, err := p.call("GET", path, token, nil, &page); err != nil || status != 200 {
				t.Fatalf("events: %d, %v", status, err)
			}
			for _, e := range page.Items {
				if strings.HasPrefix(e.RequestID, "read-") {
					recorded[e.RequestID] = true
				}
				if e.Reason == "reads_lost" {
					told++
					lost += e.Details.Lost
					if e.Details.AtMost != 0 {
						t.Errorf("a kill is told as at most %d", e.Details.AtMost)
					}
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
	missing := int64(0)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the last kill is settled by this start's first sweep
		walk()
		missing = 0
		for id := range answered {
			if !recorded[id] {
				missing++
			}
		}
		if missing <= lost || time.Now().After(end) {
			break
		}
	}
	if missing > lost || lost > missing+rounds*readers {
		t.Errorf("%d answered reads are not in the log, %d are told as lost", missing, lost)
	}
	t.Logf("%d kills: %d reads answered, %d recorded, %d of those answered missing, %d told as lost by %d events", rounds, len(answered), len(recorded), missing, lost, told)
}
