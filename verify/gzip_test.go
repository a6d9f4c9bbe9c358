package verify

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// A compressed file is judged as what is in it; one that is cut, as nothing.
func TestCompressedFiles(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t) {
		if filepath.Ext(v.File) != ".bundle" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(vectors, v.File))
		if err != nil {
			t.Fatal(err)
		}
		var z bytes.Buffer
		gz := gzip.NewWriter(&z)
		_, _ = gz.Write(text)
		_ = gz.Close()
		name := filepath.Join(t.TempDir(), v.File+".gz")
		for want, body := range map[int][]byte{v.Exit: z.Bytes(), 2: z.Bytes()[:z.Len()-9]} {
			if err := os.WriteFile(name, body, 0o600); err != nil {
				t.Fatal(err)
			}
			args := v.args()
			var out bytes.Buffer
			if got := Main("openclaw-verify", append(args[:len(args)-1], name), nil, &out, &out); got != want && !(want == 2 && v.Exit == 1 && got == 1) {
				t.Errorf("%s: %d bytes: exit %d, want %d\n%s", v.File, len(body), got, want, &out)
			}
		}
	}
}
