// Command train makes the weights of the prompt-injection detector and judges
// them, from the root of the repository:
//
//	go run ./internal/inspect/train weights   writes internal/inspect/prompt/data/weights.bin
//	go run ./internal/inspect/train eval      writes docs/DETECTION.md and the baseline
//	go run ./internal/inspect/train check     fails if a figure fell below the baseline
//	go run ./internal/inspect/train all       weights and eval from one set of folds
//	go run ./internal/inspect/train doc       docs/DETECTION.md from the baseline, without measuring
//	go run ./internal/inspect/train folds     prints the figures and writes nothing
//
// Without the development corpora it says so and stops with status 3.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

// defaultSeed is that of the weights that ship.
const defaultSeed = 7

const weightsPath = "internal/inspect/prompt/data/weights.bin"

func main() {
	dir := flag.String("corpora", corpus.Dir, "folder of the development corpora")
	seed := flag.Uint64("seed", defaultSeed, "seed of the generators and of training")
	scale := flag.Float64("scale", 1, "how many texts to generate, times the grammars' own counts")
	l2 := flag.Float64("l2", float64(defaults.l2), "weight decay of the table")
	flag.IntVar(&defaults.models, "models", defaults.models, "seeds whose mean is taken")
	flag.IntVar(&defaults.epochs, "epochs", defaults.epochs, "passes over the windows")
	flag.Parse()
	defaults.l2 = float32(*l2)
	err := run(flag.Arg(0), *dir, *seed, *scale)
	if errors.Is(err, corpus.ErrAbsent) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(verb, dir string, seed uint64, scale float64) error {
	if verb == "doc" {
		return rewrite()
	}
	start := time.Now()
	d, err := prompt.With(nil)
	if err != nil {
		return err
	}
	samples, err := gather(d, dir, seed, scale)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d texts read in %v\n", len(samples), time.Since(start).Round(time.Millisecond))
	if verb != "weights" && verb != "all" && verb != "eval" && verb != "check" && verb != "folds" {
		return fmt.Errorf("unknown verb %q: want weights, eval, all, check, doc or folds", verb)
	}
	o := defaults
	o.seed = seed
	if verb == "check" {
		o.models = checkModels
	}
	r, err := crossValidate(samples, d, o)
	if err != nil {
		return err
	}
	if verb == "check" {
		return check(r)
	}
	report(os.Stdout, r.folds)
	report(os.Stdout, r.apart)
	report(os.Stdout, r.pleas)
	if err := writeScores(slices.Concat(r.folds, r.apart, r.pleas)); err != nil {
		return err
	}
	if verb == "weights" || verb == "all" {
		w := r.ships.quantise(r.curves).Marshal()
		if err := os.WriteFile(weightsPath, w, 0o644); err != nil {
			return err
		}
		fmt.Printf("weights %d bytes, digest %x, in %v\n", len(w), sha256.Sum256(w), time.Since(start).Round(time.Second))
	}
	if verb == "eval" || verb == "all" {
		return write(r)
	}
	return nil
}

// gather reads the corpora and makes the generated texts.
func gather(d *prompt.Detector, dir string, seed uint64, scale float64) ([]sample, error) {
	examples, err := corpus.Load(dir)
	if err != nil {
		return nil, err
	}
	g, err := corpus.LoadGrammar()
	if err != nil {
		return nil, err
	}
	made := g.Generate(seed, scale)
	written, err := corpus.Written()
	if err != nil {
		return nil, err
	}
	made = append(made, written...)
	r := rand.New(rand.NewPCG(seed, 2))
	hidden := corpus.Disguised(r, made, len(made)/6)
	var plain []corpus.Example
	for _, e := range examples {
		if e.Label == 0 && e.Source != validateOnly || clear[e.Source] {
			plain = append(plain, e)
		}
	}
	hidden = append(hidden, corpus.Disguised(r, plain, len(made)/10)...)
	// Short innocent texts in the words of attacks, as a user writes them, need
	// more twins in disguise than chance gives them.
	var talk []corpus.Example
	for _, e := range made {
		if e.Channel == "user" && e.Label == 0 && len(e.Text) < 120 {
			talk = append(talk, e)
		}
	}
	hidden = append(hidden, corpus.DisguisedInnocent(r, talk, len(made)/10)...)
	made = append(made, hidden...)
	sum := sha256.New()
	for _, e := range made {
		sum.Write([]byte(e.Text))
	}
	fmt.Fprintf(os.Stderr, "%d generated texts, digest %x\n", len(made), sum.Sum(nil)[:8])
	samples := extract(d, append(examples, made...))
	locate(samples)
	return samples, nil
}

// writeScores leaves every text with the score of a model that saw nothing of
// its source, as JSON lines, where OPENCLAW_SCORES says.
func writeScores(js []judged) error {
	name := os.Getenv("OPENCLAW_SCORES")
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, j := range js {
		if err := enc.Encode(map[string]any{"source": j.Source, "label": j.Label, "p": j.p, "z": j.z, "text": j.Text, "lang": j.Lang, "family": j.Family, "way": j.Way, "channel": j.Channel}); err != nil {
			return err
		}
	}
	return nil
}
