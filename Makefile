# Two commands do everything: `make run` and `make test`.
GO       ?= go
BIN      := bin/openclaw
VERSION  ?= 0.1.0-dev
LDFLAGS  := -s -w -X github.com/Nissimmiracles/openclaw/internal/cli.version=$(VERSION)
TESTTIME ?= 20m

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/openclaw and bin/openclaw-verify
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/openclaw
	@cd verify && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../bin/openclaw-verify ./cmd/openclaw-verify

.PHONY: run
run: build ## build and start everything on this machine
	@exec $(BIN) dev

.PHONY: deps
deps: ## install what the tests need (PostgreSQL 15, Redis)
	@scripts/install-deps.sh

.PHONY: test
test: deps ## install what tests need and run all of them
	$(GO) test -timeout $(TESTTIME) $(TESTFLAGS) ./...
	cd verify && $(GO) test -timeout $(TESTTIME) $(TESTFLAGS) ./...

.PHONY: lint
lint: ## formatting, vet, staticcheck, import direction, generated files
	@scripts/lint.sh

.PHONY: ci
ci: lint ## what CI runs: lint, then every test with the race detector
	CI=1 $(MAKE) test TESTFLAGS='-race -p 1'

.PHONY: bench
bench: deps ## every benchmark, once
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

.PHONY: bench-http
bench-http: ## CPU per proxied request beside a bare ReverseProxy and nginx
	@scripts/install-deps.sh bench
	$(GO) run ./internal/e2e/httpbench

.PHONY: faults
faults: deps ## kill platforms and their database ROUNDS times (300), then count
	FAULT_ROUNDS=$(or $(ROUNDS),300) FAULT_SEED=$(SEED) $(GO) test -count=1 -v -timeout 120m -run TestKilledAtRandomMoments ./internal/e2e/faults

.PHONY: train
train: ## make the weights of the prompt detector from ../shared/corpora
	$(GO) run ./internal/inspect/train weights

.PHONY: eval
eval: ## write docs/DETECTION.md: error rates by source, cross-validated
	$(GO) run ./internal/inspect/train eval
	$(GO) run ./internal/inspect/inject/eval -write

.PHONY: detection
detection: ## train and eval from one set of folds
	$(GO) run ./internal/inspect/train all
	$(GO) run ./internal/inspect/inject/eval -write

.PHONY: peers
peers: ## judge other offline detectors over the same texts (needs python3 and PyPI)
	scores=$$(mktemp) && trap 'rm -f "$$scores"' EXIT && \
	OPENCLAW_SCORES=$$scores $(GO) run ./internal/inspect/train folds && internal/inspect/train/peers.sh $$scores

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: config
config: ## write .env.example from the configuration's own documentation
	$(GO) run ./cmd/openclaw config --example > .env.example
