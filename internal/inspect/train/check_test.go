package main

import (
	"errors"
	"os"
	"testing"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// No figure of the cross-validation falls below the baseline beyond noise. It
// trains a model per held-out group: two minutes of processor time, twenty with the
// race detector, which would find nothing here that the other tests do not.
func TestNoFigureWorsened(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes two minutes twenty; the plain run is go run ./internal/inspect/train check")
	}
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	t.Chdir("../../..")
	d, err := prompt.With(nil)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := gather(d, corpus.Dir, defaultSeed, 1)
	if errors.Is(err, corpus.ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := defaults
	o.models = checkModels
	r, err := crossValidate(samples, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(r); err != nil {
		t.Error(err)
	}
}

// A worse model is found out, and the committed document is what the generator
// writes for the committed figures.
func TestCheckBites(t *testing.T) {
	t.Chdir("../../..")
	b, err := readBaseline()
	if err != nil {
		t.Fatal(err)
	}
	if bad := compare(b, b); len(bad) > 0 {
		t.Fatalf("the baseline is below itself: %v", bad)
	}
	for name, spoil := range map[string]func(*Figures){
		"recall":          func(f *Figures) { f.Recall -= 6 },
		"false positives": func(f *Figures) { f.FPR += 6 },
		"AUC":             func(f *Figures) { f.AUC -= 0.05 },
	} {
		worse := b
		worse.Sources = map[string]Figures{}
		for k, v := range b.Sources {
			worse.Sources[k] = v
		}
		f := worse.Sources["piarena"]
		spoil(&f)
		worse.Sources["piarena"] = f
		if bad := compare(b, worse); len(bad) != 1 {
			t.Errorf("%s fell and check says %v", name, bad)
		}
	}
	for name, spoil := range map[string]func(*Baseline){
		"over-defence": func(w *Baseline) {
			f := w.Pleas["second set"]
			f.FPR += 12
			w.Pleas = map[string]Figures{"second set": f}
			for k, v := range b.Pleas {
				if k != "second set" {
					w.Pleas[k] = v
				}
			}
		},
		"languages: recall": func(w *Baseline) { w.OtherRecall -= 3 },
		"languages: alarms": func(w *Baseline) { w.OtherFPR++ },
		"calibration": func(w *Baseline) {
			r := w.Reliability["user"]
			r.ECE += 3
			w.Reliability = map[string]Reliability{"user": r, "document": b.Reliability["document"], "tool": b.Reliability["tool"]}
		},
		"throughput": func(w *Baseline) { w.Texts /= 2 },
	} {
		worse := b
		spoil(&worse)
		if bad := compare(b, worse); len(bad) != 1 {
			t.Errorf("%s fell and check says %v", name, bad)
		}
	}
	slower := b
	slower.Texts, slower.Regex = b.Texts/3, b.Regex/3
	if bad := compare(b, slower); len(bad) > 0 {
		t.Errorf("a slower machine and check says %v", bad)
	}
	gone := b
	gone.Sources = map[string]Figures{}
	if bad := compare(b, gone); len(bad) < len(b.Sources) {
		t.Errorf("every source is gone and check says %v", bad)
	}

	d, err := prompt.With(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/D.md"
	doc, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := section(path, "prompt", document(b, d)); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(doc) {
		t.Errorf("%s is not what the generator writes for %s (%v): run make eval", docPath, baselinePath, err)
	}
}
