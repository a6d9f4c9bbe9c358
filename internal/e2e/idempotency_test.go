package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
)

func keyed(key string) http.Header { return http.Header{"Idempotency-Key": {key}} }

// TestIdempotencyKey sends every create twice, in turn and at once.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	boss := c.person(t, "tenant_admin")
	tok := boss.token(t)
	for path, body := range map[string]func(n string) map[string]any{
		"/v1/agents":   func(n string) map[string]any { return map[string]any{"name": n} },
		"/v1/memories": func(n string) map[string]any { return map[string]any{"text": n} },
		"/v1/users": func(n string) map[string]any {
			return map[string]any{"email": n + "@example.com", "roles": []string{"viewer"}}
		},
		"/v1/service-accounts": func(n string) map[string]any { return map[string]any{"name": n, "grants": []string{"agents.read"}} },
	} {
		t.Run(path, func(t *testing.T) {
			key := uuid.NewString()
			create := func(to *replica, key string, body any) answer {
				return ask{to: to, method: "POST", path: path, token: tok, body: body, header: keyed(key)}.send(t)
			}
			first := create(east, key, body("one")).want(t, 201)
			second := create(west, key, body("one")).want(t, 201)
			if second.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
				t.Errorf("Idempotent-Replayed: %q, then %q", first.header.Get("Idempotent-Replayed"), second.header.Get("Idempotent-Replayed"))
			}
			a, b := first.json(t), second.json(t)
			for k := range a {
				if k == "one_time_password" || k == "client_secret" {
					secret("a "+k, a[k].(string))
					if b[k] != nil && b[k] != "" {
						t.Errorf("a replay shows %s again", k)
					}
					continue
				}
				if fmt.Sprint(a[k]) != fmt.Sprint(b[k]) {
					t.Errorf("a replay says %s is %v, the first answer %v", k, b[k], a[k])
				}
			}
			if x, y := first.header.Get("ETag"), second.header.Get("ETag"); x != y {
				t.Errorf("ETag %s, then %s", x, y)
			}
			if r := create(east, key, body("two")); r.status != 422 || r.code() != "validation_failed" {
				t.Errorf("the key with another body: %d %s", r.status, r.code())
			}
			// A refused request does not use its key up.
			key = uuid.NewString()
			create(east, key, map[string]any{}).want(t, 422)
			secretsOf(t, create(east, key, body("three")).want(t, 201))

			// Eight at once on two replicas: one effect.
			key = uuid.NewString()
			answers := make([]answer, 8)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					for range 50 { // eight passwords at once: a busy replica says 503, and the same key asks again
						answers[i], _ = ask{to: []*replica{east, west}[i%2], method: "POST", path: path, token: tok, body: body("race"), header: keyed(key)}.try(context.Background())
						if answers[i].status != 503 {
							break
						}
					}
				})
			}
			wg.Wait()
			ids, fresh := map[any]bool{}, 0
			for _, a := range answers {
				secretsOf(t, a.want(t, 201))
				ids[a.json(t)["id"]] = true
				if a.header.Get("Idempotent-Replayed") == "" {
					fresh++
				}
			}
			if len(ids) != 1 || fresh != 1 {
				t.Errorf("eight at once: %d ids, %d effects", len(ids), fresh)
			}
		})
	}

	// Another user and another tenant own the same key.
	key := uuid.NewString()
	other := c.person(t, "developer").token(t)
	foreign := newCustomer(t, "dedicated").person(t, "tenant_admin").token(t)
	ids := map[string]bool{}
	for i, tok := range []string{tok, other, foreign} {
		a := ask{method: "POST", path: "/v1/memories", token: tok, body: map[string]any{"text": fmt.Sprint(i)}, header: keyed(key)}.send(t).want(t, 201)
		ids[a.str(t, "id")] = true
	}
	// And another path: a key belongs to one operation.
	ids[ask{method: "POST", path: "/v1/agents", token: tok, body: map[string]any{"name": "same key"}, header: keyed(key)}.send(t).want(t, 201).str(t, "id")] = true
	if len(ids) != 4 {
		t.Errorf("one key of four owners made %d things", len(ids))
	}
}

func secretsOf(t testing.TB, a answer) {
	t.Helper()
	for _, k := range []string{"one_time_password", "client_secret"} {
		secret("a "+k, a.str(t, k))
	}
}

// TestIfMatch lets one of many writers through, whoever they are.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	c := newCustomer(t, "dedicated")
	tok := c.person(t, "tenant_admin").token(t)
	agent, _ := c.grow(t, tok, "match")
	memory := post(t, tok, "/v1/memories", map[string]any{"text": "alone"}).want(t, 201).str(t, "id")
	user, account := c.person(t, "viewer").id.String(), c.machine(t, tok, "agents.read").id
	for path, change := range map[string]func(i int) map[string]any{
		"/v1/agents/" + agent:             func(i int) map[string]any { return map[string]any{"description": fmt.Sprint(i)} },
		"/v1/memories/" + memory:          func(i int) map[string]any { return map[string]any{"text": fmt.Sprint(i)} },
		"/v1/users/" + user:               func(i int) map[string]any { return map[string]any{"name": fmt.Sprint(i)} },
		"/v1/service-accounts/" + account: func(i int) map[string]any { return map[string]any{"grants": []string{"agents.read", "memories.read"}} },
	} {
		etag := get(t, tok, path).want(t, 200).header.Get("ETag")
		if etag == "" {
			t.Errorf("%s has no ETag", path)
			continue
		}
		answers := make([]answer, 6)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				answers[i], _ = ask{to: []*replica{east, west}[i%2], method: "PATCH", path: path, token: tok, body: change(i), header: http.Header{"If-Match": {etag}}}.try(context.Background())
			})
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			switch a.status {
			case 200:
				won++
				if now := get(t, tok, path).header.Get("ETag"); now != a.header.Get("ETag") || now == etag {
					t.Errorf("%s: the winner's ETag is %s, the thing's %s", path, a.header.Get("ETag"), now)
				}
			case 412:
				if bad := refusedWell(a); bad != "" {
					t.Error(bad)
				}
			default:
				t.Errorf("%s: %d %.200s", path, a.status, a.body)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d of %d writers won", path, won, len(answers))
		}
		ask{method: "DELETE", path: path, token: tok, header: http.Header{"If-Match": {etag}}}.send(t).want(t, 412)
		get(t, tok, path).want(t, 200)
		ask{method: "DELETE", path: path, token: tok, header: http.Header{"If-Match": {"*"}}}.send(t).want(t, 204)
		get(t, tok, path).want(t, 404)
	}
}
