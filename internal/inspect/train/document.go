package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/Nissimmiracles/openclaw/internal/inspect/corpus"
	"github.com/Nissimmiracles/openclaw/internal/inspect/prompt"
)

func document(b Baseline, d *prompt.Detector) string {
	var w strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&w, format, a...) }
	p("## Prompt injection\n\n")
	p("Written by `make eval`. Every figure comes from texts of a source that the judging model never saw: for each source a model was trained on all the others and on the generated texts, with the same settings as the weights that ship. `%s` trains and calibrates nothing. One threshold, 0.5, everywhere; the curve that turns a score into a confidence is fitted without the sources it is judged on, too. Percent, but for AUC.\n\n", validateOnly)
	p("Macro over sources: recall **%.1f**, false positives **%.2f**, balanced accuracy **%.1f**, pooled AUC **%.4f**, recall at 1 %% pooled false positives **%.1f** (the pool leaves out `gpt_system_prompts`). The 24 regexes on the same texts: recall %.1f, false positives %.2f, balanced accuracy %.1f.\n\n",
		b.Macro.Recall, b.Macro.FPR, (b.Macro.Recall+100-b.Macro.FPR)/2, b.Macro.AUC, b.Macro.At1, b.Macro.RegexRecall, b.Macro.RegexFPR, (b.Macro.RegexRecall+100-b.Macro.RegexFPR)/2)
	p("Throughput over the short texts (at most 400 bytes), one core: %.0f texts a second; the 24 regexes %.0f. %d named rules.\n\n", b.Texts, b.Regex, len(d.Rules()))
	table := func(head string, rows map[string]Figures) {
		p("| %s | attacks | benign | precision | recall | F1 | FPR | AUC | R@1%% | regexes: recall | FPR |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", head)
		var names []string
		for k := range rows {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			f := rows[k]
			cell := func(v float64, format string, ok bool) string {
				if !ok {
					return "–"
				}
				return fmt.Sprintf(format, v)
			}
			a, n := f.Attacks > 0, f.Benign > 0
			p("| %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", k, f.Attacks, f.Benign,
				cell(f.Precision, "%.1f", a && n), cell(f.Recall, "%.1f", a), cell(f.F1, "%.1f", a && n), cell(f.FPR, "%.2f", n),
				cell(f.AUC, "%.3f", a), cell(f.At1, "%.1f", a), cell(f.RegexRecall, "%.1f", a), cell(f.RegexFPR, "%.2f", n))
		}
		p("\n")
	}
	p("### By source\n\nWhere a source has no benign texts, AUC ranks its attacks against all benign texts of the pool. `disguised` are corpus texts, attacks and innocent ones, under %d encodings.\n\n", len(corpus.Disguises()))
	table("source", b.Sources)
	p("### By family\n\nAttacks only; AUC against all benign texts.\n\n")
	table("family", b.Families)
	p("### By encoding\n\nThe row `disguised` above, taken apart. An encoding is seen through if the text beneath is recognised, so what is missed in the clear is missed here as well.\n\n")
	table("encoding", b.Encodings)
	p("%s", languages(b))
	p("%s", overdefence(b))
	p("%s", reliabilityTable(b))
	p("%s", aims(b))
	p("%s", peers())
	p("%s", tried)
	p("%s", reading)
	return w.String()
}

// languages lists recall and false positives by language.
func languages(b Baseline) string {
	var w strings.Builder
	w.WriteString("### By language\n\nTexts in the clear. `und` is what the sources mix unmarked. Most attacks that are not English are of `handwritten`.\n\n| language | attacks | recall | benign | FPR |\n|---|---:|---:|---:|---:|\n")
	var names []string
	for k := range b.Languages {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		f := b.Languages[k]
		recall, fpr := "–", "–"
		if f.Attacks > 0 {
			recall = fmt.Sprintf("%.1f", f.Recall)
		}
		if f.Benign > 0 {
			fpr = fmt.Sprintf("%.2f", f.FPR)
		}
		fmt.Fprintf(&w, "| %s | %d | %s | %d | %s |\n", k, f.Attacks, recall, f.Benign, fpr)
	}
	fmt.Fprintf(&w, "\nMean over the languages other than English: recall **%.1f** (those with at least 5 attacks), false positives **%.2f** (those with at least 20 benign texts).\n\n", b.OtherRecall, b.OtherFPR)
	return w.String()
}

// overdefence lists how many innocent texts full of trigger words pass.
func overdefence(b Baseline) string {
	var w strings.Builder
	w.WriteString("### Over-defence\n\nInnocent texts full of the words attacks use (`internal/inspect/train/data`), written by hand for judging only. No generator makes them, nothing trains or calibrates on them; they are judged by the weights that ship. The first set was written before the grammars of personas, errands, detours, tasks and innocent sentences: 82.5 passed before the last of these was written, with its mistakes known, so it flatters now. The second was written when all grammars stood. Which of its texts fail was never looked at; grammars changed twice more after it (extraction, Tagalog, a few words; then everyday requests, written with mistakes on the first set known), and the share of attacks assumed and the weight of innocent requests were chosen with its total in view.\n\n| texts | number | pass | the 24 regexes |\n|---|---:|---:|---:|\n")
	var names []string
	for k := range b.Pleas {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		f := b.Pleas[k]
		fmt.Fprintf(&w, "| %s | %d | %.1f | %.1f |\n", k, f.Benign, 100-f.FPR, 100-f.RegexFPR)
	}
	w.WriteString("\n")
	return w.String()
}

// reliabilityTable says what a confidence is worth.
func reliabilityTable(b Baseline) string {
	var w strings.Builder
	fmt.Fprintf(&w, "### What a confidence means\n\nShare of attacks among the texts of each range of confidence, every source weighing the same and attacks making up one text in %.0f of each trust level. The curves are fitted without the source they are judged on; error is the mean distance between confidence and share (expected calibration error, in points).\n\n| confidence |", 1/prior)
	levels := []string{"user", "document", "tool"}
	for _, l := range levels {
		fmt.Fprintf(&w, " %s: texts | attacks |", l)
	}
	w.WriteString("\n|---|---:|---:|---:|---:|---:|---:|\n")
	for k := range relBins {
		fmt.Fprintf(&w, "| %.1f–%.1f |", float64(k)/relBins, float64(k+1)/relBins)
		for _, l := range levels {
			if r := b.Reliability[l]; r.Texts[k] > 0 {
				fmt.Fprintf(&w, " %d | %.0f |", r.Texts[k], r.Share[k])
			} else {
				w.WriteString(" 0 | |")
			}
		}
		w.WriteString("\n")
	}
	w.WriteString("| error |")
	for _, l := range levels {
		fmt.Fprintf(&w, " | %.1f |", b.Reliability[l].ECE)
	}
	w.WriteString("\n\n")
	return w.String()
}
