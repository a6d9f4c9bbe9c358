package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// peers.json is what peers.sh measured; make eval does not run it again.
//
//go:embed data/peers.json
var peersFile []byte

// peer is one detector of others, in percent over a sample of the texts.
type peer struct {
	Name        string  `json:"name"`
	Kind        string  `json:"kind"`
	Recall      float64 `json:"recall"`
	FPR         float64 `json:"fpr"`
	HandRecall  float64 `json:"hand_recall"`
	HandFPR     float64 `json:"hand_fpr"`
	OverDefence float64 `json:"over_defence"`
	Texts       float64 `json:"texts_per_cpu_second"`
}

// peers lists the detectors of others beside this one.
func peers() string {
	var all struct {
		Attacks int    `json:"attacks"`
		Benign  int    `json:"benign"`
		Peers   []peer `json:"peers"`
	}
	if err := json.Unmarshal(peersFile, &all); err != nil {
		panic(err) // embedded, and read by a test
	}
	var w strings.Builder
	fmt.Fprintf(&w, "### Beside other offline detectors\n\nMeans over sources on a sample of the same texts (at most 150 of each source or author and label: %d attacks, %d benign), recall and alarms on those written by hand, pooled, and the over-defence sets. Versions are pinned in `internal/inspect/train/peers.sh`, which installs them into a folder of its own and measures: `make peers`. Each decides by its own default settings; texts a second are of one core, through their own language.\n\n| detector | kind | recall | FPR | balanced | by hand: recall | FPR | over-defence: pass | texts/s |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n", all.Attacks, all.Benign)
	for _, p := range all.Peers {
		texts := "see above"
		if p.Texts > 0 {
			texts = fmt.Sprintf("%.0f", p.Texts)
		}
		fmt.Fprintf(&w, "| %s | %s | %.1f | %.2f | %.1f | %.1f | %.1f | %.1f | %s |\n", p.Name, p.Kind, p.Recall, p.FPR, (p.Recall+100-p.FPR)/2, p.HandRecall, p.HandFPR, p.OverDefence, texts)
	}
	w.WriteString("\n")
	return w.String()
}
