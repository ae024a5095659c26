# One line of help stands behind each target's "##". The whole of CI is .ci/run.
include .ci/tools

FUZZTIME  ?= 10m
BENCHTIME ?= 1s
BENCH     ?= .
LINT      := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

.DEFAULT_GOAL := help
.PHONY: help test race lint fmt fuzz bench compare interop ci api weftbench idle clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run every test, as the README says
	go test ./...

race: ## run every test with the race detector, shuffled, three times
	go test -race -shuffle=on -count=3 ./...
	go test -race -shuffle=on -tags weftdebug ./...

lint: $(LINT) ## check formatting, vet for every platform, run the linters
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	GOARCH=386 go vet ./...
	$(LINT) run ./...

fmt: ## format every Go file
	gofmt -w .

$(LINT): .ci/tools
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

fuzz: ## fuzz every target for FUZZTIME (10m); prints target, seconds, executions
	FUZZTIME=$(FUZZTIME) .ci/fuzz

bench: ## run the benchmarks over the stack table (BENCH=regexp BENCHTIME=1s)
	go test -run '^$$' -bench '$(BENCH)' -skip '^BenchmarkCost' -benchtime $(BENCHTIME) -benchmem ./benchmarks/...

compare: ## measure the server's CPU time against loops written by hand (minutes)
	go test -run '^$$' -bench '^BenchmarkCost(Echo|Fanout)' -benchtime 1x -timeout 30m ./benchmarks/

interop: ## run the tests against others' clients, brokers and Chromium
	.ci/interop

ci: ## run all that CI runs
	.ci/run

api: ## count the exported names of each package
	@go run ./.ci/api

weftbench: ## compare stacks and other libraries, and write benchmarks/RESULTS.md (minutes)
	go run ./benchmarks/cmd/weftbench -md benchmarks/RESULTS.md

idle: ## measure what an idle session costs: resident bytes and goroutines
	go test -run '^$$' -bench '^BenchmarkCostIdle' -benchtime 1x ./benchmarks/

clean: ## remove what builds and tests leave behind
	rm -rf bin coverage.out interop/artifacts interop/node_modules
