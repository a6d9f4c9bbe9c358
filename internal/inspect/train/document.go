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
	p("%s", written(b))
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

// written lists what is found and stopped of the texts written by hand.
func written(b Baseline) string {
	var w strings.Builder
	all := b.Written["all"]
	fmt.Fprintf(&w, "### Texts written by hand\n\n%d attacks and %d innocent texts in %d languages (`internal/inspect/corpus/written`), composed one by one for this project by authors who knew neither the rules nor the weights: attacks from blatant to sly, and innocent texts as near to an attack in words as they could honestly be. The authors are language models given different tasks, so the texts are alike in taste, and texts of one author in different languages often share an idea; each is judged by weights and a curve that saw nothing of its author nor of the others on the same of three shelves. **These rows are what to expect of attacks nobody collected**; the sources above are easier, for they hold attacks that became known. They count neither in the macro figures nor in the pool.\n\n", all.Attacks, all.Benign, len(b.Tongues)+1)
	table := func(head string, rows map[string]Figures) {
		fmt.Fprintf(&w, "| %s | attacks | recall | R@1%% | innocent | FPR | AUC | regexes: recall | FPR |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n", head)
		var names []string
		for k := range rows {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			f := rows[k]
			fmt.Fprintf(&w, "| %s | %d |", k, f.Attacks)
			if f.Attacks > 0 {
				fmt.Fprintf(&w, " %.1f | %.1f |", f.Recall, f.At1)
			} else {
				w.WriteString(" – | – |")
			}
			fmt.Fprintf(&w, " %d | %.2f |", f.Benign, f.FPR)
			if f.Attacks > 0 {
				fmt.Fprintf(&w, " %.3f | %.1f |", f.AUC, f.RegexRecall)
			} else {
				w.WriteString(" – | – |")
			}
			fmt.Fprintf(&w, " %.2f |\n", f.RegexFPR)
		}
		w.WriteString("\n")
	}
	table("author", b.Written)
	w.WriteString("The same by language, English left out:\n\n")
	table("language", b.Tongues)
	return w.String()
}

// overdefence lists how many innocent texts full of trigger words pass.
func overdefence(b Baseline) string {
	var w strings.Builder
	w.WriteString("### Over-defence\n\nInnocent texts full of the words attacks use (`internal/inspect/train/data`), for judging only. No generator makes them, nothing trains or calibrates on them; they are judged by the weights that ship. The first set was written before the grammars of personas, errands, detours, tasks and innocent sentences, and its mistakes were read: it flatters. Which texts of the second fail was never looked at, but settings were chosen with its total in view, the weight decay, the passes and the share of attacks assumed the last time. The third was written last, by an author who knew neither the other sets nor the detector; no text of it was read, but its total was known when the share of attacks assumed was last moved, from one in seven to 15.5 %.\n\n| texts | number | pass | the 24 regexes |\n|---|---:|---:|---:|\n")
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
	fmt.Fprintf(&w, "### What a confidence means\n\nShare of attacks among the texts of each range of confidence, every source weighing the same and attacks making up one text in %.1f of each trust level, texts written by hand among them. The curves are fitted without the source they are judged on; error is the mean distance between confidence and share (expected calibration error, in points).\n\n| confidence |", 1/prior)
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
