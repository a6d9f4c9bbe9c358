#!/usr/bin/env bash
# Measures offline detectors of others over the texts of a score file, which
# OPENCLAW_SCORES makes `train folds` leave, and writes data/peers.json. The
# packages go into a folder that is removed afterwards.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
scores="${1:?usage: peers.sh SCORES.jsonl}"
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --no-deps forcefield==0.8.0 plumblint==0.1.2 safepaste==0.3.0 toolwall-guard==0.4.0
"$dir/bin/pip" install --quiet regex==2026.11.15 pydantic==2.14.3 scikit-learn==1.8.0 joblib==1.4.2
OMP_NUM_THREADS=1 "$dir/bin/python" "$here/peers.py" "$scores" > "$dir/peers.json"
cp "$dir/peers.json" "$here/data/peers.json"
