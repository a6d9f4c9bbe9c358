package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// release writes programs that call themselves PostgreSQL of a version.
func release(t *testing.T, dir, line string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+line+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindPrefers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for dir, line := range map[string]string{
		"14": "postgres (PostgreSQL) 14.9",
		"15": "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
		"16": "postgres (PostgreSQL) 16.2",
		"17": "postgres (PostgreSQL) 17beta1",
		"x":  "mysqld 8",
	} {
		release(t, filepath.Join(root, dir, "bin"), line)
	}
	for _, c := range []struct {
		name  string
		glob  string
		major int
		want  string // version, or empty for ErrNotFound
	}{
		{"fifteen first", "*", 0, "15.18"},
		{"the one asked for", "*", 17, "17beta1"},
		{"asked for but absent", "*", 18, "15.18"},
		{"newer when there is no fifteen", "1[67]", 0, "16.2"},
		{"older is none", "14", 14, ""},
		{"another product", "x", 0, ""},
		{"nothing there", "none", 0, ""},
	} {
		b, err := Find(t.Context(), Options{Major: c.major, Cache: filepath.Join(root, "cache"), system: []string{filepath.Join(root, c.glob, "bin")}, noPath: true})
		switch {
		case c.want == "" && !errors.Is(err, ErrNotFound):
			t.Errorf("%s: got %v, %v, want ErrNotFound", c.name, b, err)
		case c.want != "" && (err != nil || b.Version != c.want):
			t.Errorf("%s: got %v, %v, want %s", c.name, b, err, c.want)
		}
	}
}

// A folder named by the operator is used or refused, never replaced.
func TestFindNamed(t *testing.T) {
	t.Parallel()
	good := release(t, filepath.Join(t.TempDir(), "bin"), "postgres (PostgreSQL) 16.2")
	if b, err := Find(t.Context(), Options{Bin: good}); err != nil || b.Dir != good || b.Major != 16 {
		t.Errorf("got %v, %v", b, err)
	}
	for _, dir := range []string{t.TempDir(), "/nowhere", release(t, filepath.Join(t.TempDir(), "old"), "postgres (PostgreSQL) 9.6.24")} {
		if b, err := Find(t.Context(), Options{Bin: dir}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, %v", dir, b, err)
		}
		if _, err := Install(t.Context(), Options{Bin: dir}); err == nil {
			t.Errorf("%s: installed something else", dir)
		}
	}
}

func TestFindPrivate(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	want := release(t, npmBin(cache), "postgres (PostgreSQL) 15.18")
	b, err := Find(t.Context(), Options{Cache: cache, system: []string{}, noPath: true})
	if err != nil || b.Dir != want {
		t.Errorf("got %v, %v, want %s", b, err, want)
	}
}
