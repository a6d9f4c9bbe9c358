#!/usr/bin/env bash
# Runs every fuzz target of the repository for a while each; stops at the first
# finding, whose input is kept under testdata/fuzz of its package.
set -euo pipefail
cd "$(dirname "$0")/.."
for_each=${1:-10s}
for root in . verify; do
	(
		cd "$root"
		grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do
			[ "$root" = verify ] || [[ $dir != ./verify* ]] || continue
			grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
				printf '%s %s\n' "$dir" "$target"
				go test -run '^$' -fuzz "^$target\$" -fuzztime "$for_each" -fuzzminimizetime 20x "$dir" </dev/null
			done
		done
	)
done
