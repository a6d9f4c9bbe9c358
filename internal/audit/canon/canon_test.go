package canon

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/Nissimmiracles/openclaw/internal/audit/verifytest"
)

// RFC 8785 appendix B: IEEE 754 bits and the number's text.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for bits, want := range map[uint64]string{
		0x0000000000000000: "0",
		0x8000000000000000: "0",
		0x0000000000000001: "5e-324",
		0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: "1.7976931348623157e+308",
		0xffefffffffffffff: "-1.7976931348623157e+308",
		0x4340000000000000: "9007199254740992",
		0xc340000000000000: "-9007199254740992",
		0x4430000000000000: "295147905179352830000",
		0x44b52d02c7e14af5: "9.999999999999997e+22",
		0x44b52d02c7e14af6: "1e+23",
		0x44b52d02c7e14af7: "1.0000000000000001e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000",
		0x444b1ae4d6e2ef4f: "999999999999999900000",
		0x444b1ae4d6e2ef50: "1e+21",
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7",
		0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332",
		0x41b3de4355555554: "333333333.33333325",
		0x41b3de4355555555: "333333333.3333333",
		0x41b3de4355555556: "333333333.3333334",
		0x41b3de4355555557: "333333333.33333343",
		0xbecbf647612f3696: "-0.0000033333333333333333",
		0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		got, err := AppendFloat(nil, math.Float64frombits(bits))
		if err != nil || string(got) != want {
			t.Errorf("%016x: got %s, %v; want %s", bits, got, err, want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := AppendFloat(nil, f); !errors.Is(err, ErrNumber) {
			t.Errorf("%v: got %v", f, err)
		}
	}
	for _, n := range []any{int64(MaxInt + 1), int64(-MaxInt - 1), uint64(MaxInt + 1), int64(math.MinInt64)} {
		if _, err := Append(nil, n); !errors.Is(err, ErrNumber) {
			t.Errorf("%v: got %v", n, err)
		}
	}
}

// RFC 8785 sections 3.2.2 to 3.2.4 and 3.2.3's sorting sample.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{
		  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		  "literals": [null, true, false]
		}`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{
		  "\u20ac": "Euro Sign",
		  "\r": "Carriage Return",
		  "\ufb33": "Hebrew Letter Dalet With Dagesh",
		  "1": "One",
		  "\ud83d\ude00": "Emoji: Grinning Face",
		  "\u0080": "Control",
		  "\u00f6": "Latin Small Letter O With Diaeresis"
		}`: `{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		` [ 56 , { "d" : true , "10" : null , "1" : [ ] } ] `: `[56,{"1":[],"10":null,"d":true}]`,
	} {
		d := json.NewDecoder(strings.NewReader(in))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		got, err := Append(nil, v)
		if err != nil || string(got) != want {
			t.Errorf("got  %s\nwant %s (%v)", got, want, err)
		}
		if err := Verify([]byte(want)); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if in != want && Verify([]byte(in)) == nil {
			t.Errorf("accepted %s", in)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		``, ` `, `{`, `1 `, ` 1`, "1\n", `{"a":1,"a":1}`, `{"b":1,"a":2}`, `{"a":1,}`, `[1,]`, `[1 ]`,
		`-0`, `01`, `1.0`, `1e3`, `+1`, `-`, `1E3`, `9007199254740993`, `1e400`, `NaN`, `nul`, `truex`,
		`"\u0041"`, `"\/"`, `"\u000a"`, `"\u001F"`, `"\ud83d\ude00"`, `"\ud800"`, "\"\x01\"", "\"\xff\"", "\"\xed\xa0\x80\"",
		`{"\u0061":1}`, `{1:2}`, `"a`, `1 1`, `{"a":1}{"b":2}`, "\ufeff1", "{\"\ufb33\":2,\"😀\":1}",
	} {
		if err := Verify([]byte(in)); err == nil {
			t.Errorf("accepted %q", in)
		}
		if err := verifytest.Canonical([]byte(in)); err == nil {
			t.Errorf("the verifier accepted %q", in)
		}
	}
}

func TestStringsRefused(t *testing.T) {
	t.Parallel()
	for _, v := range []any{"\xff", []string{"ok", "\xc0\x80"}, map[string]any{"\xed\xa0\x80": 1}, map[string]any{"a": "\xff"}} {
		if _, err := Append(nil, v); !errors.Is(err, ErrUTF8) {
			t.Errorf("%q: got %v", v, err)
		}
	}
	if _, err := Append(nil, struct{}{}); err == nil {
		t.Error("wrote a struct")
	}
}

func TestCompareNames(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune{'a', 'b', 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfb33, 0xffff, 0x10000, 0x1f600, 0x10ffff}
	word := func() string {
		var b strings.Builder
		for range rng.IntN(4) {
			b.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 200_000 {
		a, b := word(), word()
		want := slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		got := CompareNames(a, b)
		if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Fatalf("%q %q: got %d, want %d", a, b, got, want)
		}
	}
}

// Canonical bytes survive the way through Decode and Append, and the two
// checkers, written apart, agree wherever the stricter one has a say.
func FuzzVerify(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2,"x\n",true,null],"b":{}}`, `1.5`, `"é"`, `{"é":1}`, `[[[]]]`, `{"a":1,"a":2}`, `-0`, `9007199254740991`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		strict := verifytest.Canonical(b)
		if strict == nil && err != nil {
			t.Fatalf("verifier takes what canon refuses: %q: %v", b, err)
		}
		if err != nil {
			return
		}
		again, err := Append(nil, v)
		if err != nil || string(again) != string(b) {
			t.Fatalf("%q came back as %q: %v", b, again, err)
		}
		if strict != nil && plainRecord(v, 0) {
			t.Fatalf("verifier refuses %q: %v", b, strict)
		}
	})
}

// plainRecord reports whether v uses only what records use.
func plainRecord(v any, depth int) bool {
	if depth > 29 { // the verifier allows 32, with what a record puts around it
		return false
	}
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		return err == nil && n <= MaxInt && n >= -MaxInt
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !plainRecord(e, depth+1) })
	case map[string]any:
		for name, e := range v {
			if !plainRecord(e, depth+1) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x80 || r == '"' || r == '\\' }) {
				return false
			}
		}
	}
	return true
}

// Whatever JSON says, its canonical form is found again from that form.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"b":[1.0,2e3],"a":"\u0041"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if json.Unmarshal(b, &v) != nil {
			return
		}
		one, err := Append(nil, v)
		if err != nil {
			return
		}
		if err := Verify(one); err != nil {
			t.Fatalf("%q became %q: %v", b, one, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	v := map[string]any{
		"action": "agents.create", "id": "01890a5d-ac96-774b-bcce-b302099a8057", "outcome": "success",
		"resource": "agent/01890a5d-ac96-774b-bcce-b302099a8058", "severity": "INFO", "time": "2026-11-22T18:19:27.123456Z",
		"details": map[string]any{"score": 42, "rules": []string{"r1", "r2"}},
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = Append(buf[:0], v); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}
