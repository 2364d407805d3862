# Everything that is checked before a change goes in: make test.
# It runs from a clean checkout and installs what it needs; CONTRIBUTING.md says
# what each step is for.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO            ?= go
BIN           := .cache/bin
LINT_VERSION  := v2.15.0
RERUN_VERSION := v1.13.0
VULN_VERSION  := v1.1.4
LINT          := $(BIN)/golangci-lint-$(LINT_VERSION)
RERUN         := $(BIN)/gotestsum-$(RERUN_VERSION)
FUZZ_TIME     ?= 5s
DURATION      ?= 5m
VERSION       ?= $(shell git describe --tags --dirty 2>/dev/null || echo devel)
COMMIT        ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS       := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

step = @printf '\n== %s\n' '$(1)'

.PHONY: build test check fmt vet lint unit race fuzz integration soak reliability messages bench cover tools govulncheck clean help

build: ## the program, static, in ./roomtape
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o roomtape ./cmd/roomtape

test: check tools unit race integration ## everything, cheapest first
	@printf '\nAll is well.\n'

check: fmt vet lint ## what needs no test to run

fmt:
	$(call step,gofmt)
	@out=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then printf 'not formatted:\n%s\n' "$$out"; exit 1; fi

vet:
	$(call step,go vet)
	@$(GO) vet -tags integration ./...

lint: $(LINT) ## golangci-lint, with the layers of .golangci.yml
	$(call step,golangci-lint)
	@$(LINT) run

$(LINT):
	$(call step,installing golangci-lint $(LINT_VERSION))
	@mkdir -p $(BIN)
	@GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(BIN)/golangci-lint $@

# What a test asks of a browser in real time, a busy machine may fail to give:
# such a test is tried again, twice, and listed. A data race never is.
RERUN_FLAGS := --format pkgname-and-test-fails --format-hide-empty-pkg --hide-summary skipped \
	--rerun-fails=2 --rerun-fails-max-failures=8 --rerun-fails-run-root-test \
	--rerun-fails-abort-on-data-race

$(RERUN):
	$(call step,installing gotestsum $(RERUN_VERSION))
	@mkdir -p $(BIN)
	@GOBIN=$(abspath $(BIN)) $(GO) install gotest.tools/gotestsum@$(RERUN_VERSION)
	@mv $(BIN)/gotestsum $@

tools: ## the programs that integration tests call
	@.ci/tools

unit: ## go test ./...
	$(call step,unit tests)
	@$(GO) test ./...

race: $(RERUN) ## the same with the race detector
	$(call step,race detector)
	@CGO_ENABLED=1 $(RERUN) $(RERUN_FLAGS) --packages=./... -- -race -timeout 20m

fuzz: ## each fuzz target for FUZZ_TIME (5s); what it found before is in the unit tests
	$(call step,fuzzing each target for $(FUZZ_TIME))
	@.ci/fuzz $(FUZZ_TIME)

integration: $(RERUN) ## tests with a browser, ffmpeg, a full disk, kill -9
	$(call step,integration tests)
	@$(RERUN) $(RERUN_FLAGS) \
		--packages="$$(grep -rl --include='*_test.go' '^//go:build integration' . | xargs -n1 dirname | sort -u | tr '\n' ' ')" \
		-- -count=1 -p 1 -timeout 40m -tags integration

soak: ## twenty people, 3 % loss and a server that restarts, for DURATION (5m)
	@$(GO) run ./internal/soak -duration $(DURATION)

reliability: ## calls over bad networks, at full length; writes the table of docs/RELIABILITY.md
	@$(GO) test -count=1 -timeout 10m -run TestReliability ./internal/netsim -update

messages: ## 200,000 data channel messages of ten peers over a lossy network, in fake time
	@$(GO) test -count=1 -timeout 10m -v -run TestGameIsRecorded ./internal/netsim -messages 200000

bench: ## benchmarks, with allocations
	@$(GO) test -run '^$$' -bench . -benchmem ./...

cover: ## what the unit tests reach, as .cache/cover.html
	@mkdir -p .cache
	@$(GO) test -coverpkg ./... -coverprofile .cache/cover.out ./...
	@$(GO) tool cover -html .cache/cover.out -o .cache/cover.html
	@$(GO) tool cover -func .cache/cover.out | tail -n 1

govulncheck: ## known vulnerabilities in what we call; needs the database at vuln.go.dev
	@$(GO) run golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION) ./...

clean: ## what make has made
	rm -rf .cache roomtape

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
