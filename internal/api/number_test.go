package api

import (
	"encoding/json"
	"testing"
)

func TestNumbersAreKeptExactlyOrRefused(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"0": true, "-1": true, "9007199254740992": true, "9007199254740993": false, "-9007199254740994": false,
		"12345678901234567890123": false, "0.1": true, "1e3": true, "1e400": false, "-1e400": false, "1.5e-300": true,
		"1" + string(make([]byte, 100)): false,
	} {
		if got := exact(json.Number(s)); got != want {
			t.Errorf("%.30q: %v, want %v", s, got, want)
		}
	}
	if err := wellFormed([]byte(`{"metadata":{"n":[1,2,{"deep":12345678901234567890}]}}`)); err == nil {
		t.Error("a number that loses digits passed")
	}
}
