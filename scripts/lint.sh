#!/usr/bin/env bash
# Formatting, vet, staticcheck, the import directions, and that what is
# generated is fresh. Says nothing when all is well.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'lint: %s\n' "$1" >&2; exit 1; }

files=$(gofmt -l $(git ls-files '*.go'))
[ -z "$files" ] || fail "not formatted, run gofmt -w on:
$files"

for dir in . verify; do
	(cd "$dir" && go vet ./...)
done

mkdir -p bin
[ -x bin/staticcheck ] && [ bin/staticcheck -nt tools/go.sum ] ||
	go build -modfile=tools/go.mod -o bin/staticcheck honnef.co/go/tools/cmd/staticcheck
for dir in . verify; do
	(cd "$dir" && "$OLDPWD/bin/staticcheck" ./...)
done

go test ./internal/deps

tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
go run ./cmd/openclaw config --example >"$tmp"
cmp -s "$tmp" .env.example || fail ".env.example is stale, run make config"
