# The front door: `make` prints what there is. What a target does in more than a line stands in scripts/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s
PORT     ?= 7379

.PHONY: help
help: ## this list
	@echo "ndring: what you store is exactly what you get back"
	@echo
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5); next } \
		/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings: FUZZTIME=$(FUZZTIME), PORT=$(PORT) (make run), VERSION, PYTHON=interpreter, NDRING_CACHE=folder"

##@ Use it
.PHONY: demo run build image up down logs upgrade
demo: ## start three nodes, store and fetch awkward arrays, show what came back, stop them
	@scripts/demo

run: build ## a node on port 7379, until Ctrl-C
	@exec bin/ndring --port $(PORT) --dir ndring-data

BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
build: need-go ## bin/ndring, one static binary, and bin/ndctl, the operators' command line
	@$(BUILD) -o bin/ndring ./cmd/node
	@$(BUILD) -o bin/ndctl ./cmd/ndctl

image: build ## the container image, from bin/ndring alone (needs no registry)
	@scripts/image $(VERSION)

up: export NDRING_START := $(shell date +%s.%N)
up: image ## a cluster of five containers: builds the image, starts them, waits until they take writes (docs/deploy.md)
	@scripts/up

down: ## stop the containers and remove them; the volumes with the arrays stay
	@scripts/down

logs: ## what the containers log, until Ctrl-C
	@scripts/logs

upgrade: image ## build the image and renew the containers, one after the other
	@scripts/upgrade

##@ Check it
.PHONY: check quick test race test-python test-wheel test-numpy2 faults e2e lint fuzz
check: lint test ## lint and test: what has to pass before a change goes in

quick: need-go ## the Go tests with fewer rounds, in about a minute: for the inner loop
	@go test -short ./...

test: announce race test-python test-wheel ## all tests on this machine, with coverage (sets up what is missing, 10 to 20 minutes)

.PHONY: announce
announce: need-go
	@scripts/announce

race: need-go ## the Go tests alone, with the race detector and coverage
	@scripts/step "go test -race" scripts/test-go

test-python: build ## the Python suite alone, against real nodes
	@scripts/step "python suite" scripts/test-python

test-wheel: build ## the Python package as a plain wheel, installed from scratch
	@scripts/step "python wheel" scripts/test-wheel

test-numpy2: build ## the Python suite on NumPy 2 (from PyPI, or in a Debian trixie root)
	@scripts/step "python suite on numpy 2" scripts/test-numpy2

faults: build ## kill -9 of real nodes, losses of power, errors and damage in thousands of variants
	@scripts/step "kill, power loss, damage" scripts/faults

e2e: build ## the cluster of containers, its clients inside and on the host, under faults (needs Docker)
	@scripts/step "cluster of containers" scripts/e2e

lint: need-go ## gofmt, go vet, staticcheck, go mod tidy, mypy, codespell, shellcheck
	@scripts/step "lint" scripts/lint

fuzz: need-go ## every Go fuzz target, FUZZTIME each
	@scripts/fuzz $(FUZZTIME)

# With SMOKE=1 each does the least of each of its cases, in seconds: what bench-smoke runs. RESULTS: the folder for reports.
.PHONY: bench bench-quick bench-eviction bench-disk bench-topology bench-cluster bench-smoke churn
RESULTS ?= $(CURDIR)/bench/results
bench: ## ndring beside redis-server, Valkey, memcached and a server that stores nothing (about 10 minutes, as root)
	@scripts/bench $(if $(SMOKE),-smoke) -out $(RESULTS)

bench-quick: ## the same in two minutes, with fewer cases
	@scripts/bench -quick -rounds 1 -time 400ms $(if $(SMOKE),-smoke) -out $(RESULTS)

bench-eviction: build ## hit ratios beside redis-server in the same memory (about 6 minutes)
	@scripts/setup-tools
	@cd bench && go run ./eviction $(if $(SMOKE),-smoke) -out $(RESULTS)/eviction.md

bench-disk: ## logs, snapshots and starts beside redis-server (about 20 minutes)
	@scripts/bench disk $(if $(SMOKE),-smoke) -out $(RESULTS)/disk.md

bench-topology: need-go ## sizes and times of what clients fetch of the cluster, beside redis-server (about 2 minutes)
	@scripts/setup-tools
	@NDRING_BENCH_TOPOLOGY=$(RESULTS)/topology.md go test $(if $(SMOKE),-short) -count 1 -run XXX -bench Topology -benchtime 1x ./protocol

bench-cluster: build ## a million keys over three nodes, through the Python client (about 4 minutes)
	@scripts/setup-python test
	@.venv/bin/python bench/python/cluster.py $(if $(SMOKE),--keys 3000) --out $(RESULTS)/cluster.md

bench-smoke: build ## each of these and churn for some seconds, to see that they run; their figures say nothing
	@scripts/step "benchmarks run" scripts/bench-smoke

CHURN = $(if $(SMOKE),1s,5m)
churn: need-go ## five minutes of everything at random, with poisoned memory and with the race detector
	@scripts/setup-tools
	@NDRING_CHURN=$(CHURN) go test -tags poison -count 1 -timeout 10m -v -run Churn ./protocol
	@NDRING_CHURN=$(CHURN) go test -race -count 1 -timeout 10m -v -run Churn ./protocol

##@ Look after it
.PHONY: setup release clean
setup: ## everything that the tests need (the other targets do this themselves)
	@scripts/setup-tools
	@scripts/setup-python test

DIST ?= $(CURDIR)/dist
release: need-go ## everything that a release publishes, into dist/ (docs/releasing.md); REHEARSE=1 takes any commit
	@scripts/release $(if $(REHEARSE),--rehearse) $(DIST)

clean: ## remove all that was built or set up in this folder
	@rm -rf --one-file-system bin dist .venv .cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: need-go
need-go:
	@scripts/need-go
