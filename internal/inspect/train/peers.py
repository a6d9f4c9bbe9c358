"""Judges the texts of a score file (JSON lines: source, label, text, p) with
offline detectors of others and prints their figures as JSON. See peers.sh."""

import collections
import json
import sys
import time
import zlib
from importlib.metadata import version

import forcefield
import plumblint
import safepaste
from toolwall.detect import CompositeDetector

guard = forcefield.Guard(telemetry=False)
tools = CompositeDetector(use_judge=False)

PEERS = [
    ("forcefield", "patterns and a learned model (TF-IDF)", lambda t: guard.scan(t).blocked),
    ("plumblint", "weighted patterns", lambda t: plumblint.scan(t).verdict == "injection"),
    ("safepaste", "patterns", lambda t: safepaste.scan_prompt(t).flagged),
    ("toolwall-guard", "patterns (its model is fetched from a hub, so off)", lambda t: tools.score(t)[0] >= 0.6),
]


def name(row):
    return "disguised" if row["source"].endswith("+disguised") else row["source"]


def share(hits):
    return round(100 * sum(hits) / len(hits), 1)


def figures(rows, hit):
    recall, fpr, pleas, by_hand = collections.defaultdict(list), collections.defaultdict(list), [], ([], [])
    for row, h in zip(rows, hit):
        if row["source"] == "overdefence":
            pleas.append(h)
        elif row["source"].startswith("written:"):
            by_hand[row["label"]].append(h)
        elif row["label"]:
            recall[name(row)].append(h)
        else:
            fpr[name(row)].append(h)
    mean = lambda d, least: 100 * sum(sum(v) / len(v) for v in d.values() if len(v) >= least) / sum(len(v) >= least for v in d.values())
    return {"recall": round(mean(recall, 5), 1), "fpr": round(mean(fpr, 20), 2), "hand_recall": share(by_hand[1]), "hand_fpr": share(by_hand[0]), "over_defence": round(100 - share(pleas), 1)}


def main():
    most = 150
    groups = collections.defaultdict(list)
    for line in open(sys.argv[1], encoding="utf-8"):
        row = json.loads(line)
        groups[row["source"], row["label"]].append(row)
    rows = []
    for key in sorted(groups):
        g = sorted(groups[key], key=lambda r: (zlib.crc32(r["text"].encode("utf-8", "replace")), r["text"]))
        rows += g if key[0] == "overdefence" else g[:most]
    judged = [r for r in rows if r["source"] != "overdefence"]
    out = {"attacks": sum(r["label"] for r in judged), "benign": sum(1 - r["label"] for r in judged), "peers": []}
    out["peers"].append({"name": "**this package**", "kind": "rules and a learned model", **figures(rows, [r["p"] > 0.5 for r in rows])})
    for who, kind, judge in PEERS:
        start = time.process_time()
        hit = [bool(judge(r["text"])) for r in rows]
        took = time.process_time() - start
        out["peers"].append({"name": f"{who} {version(who)}", "kind": kind, **figures(rows, hit), "texts_per_cpu_second": round(len(rows) / took)})
    json.dump(out, sys.stdout, indent=2)
    print()


main()
