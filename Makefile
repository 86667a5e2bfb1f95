# The front door: `make` lists the targets. Anything longer than a line is in scripts/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s
PORT     ?= 7379

.PHONY: help
help: ## list the targets
	@echo "ndring: what you store is exactly what you get back"
	@echo
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5); next } \
		/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings: FUZZTIME=$(FUZZTIME), PORT=$(PORT) (make run), VERSION, PYTHON=interpreter, NDRING_CACHE=folder"

##@ Use it
.PHONY: demo run build image up up-tls renew-tls down logs upgrade restart
demo: ## start three nodes, store and fetch awkward arrays, show what came back, stop them
	@scripts/demo

run: build ## run a node on port 7379 until Ctrl-C
	@exec bin/ndring --port $(PORT) --dir ndring-data

BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
build: need-go ## build bin/ndring, one static binary, and bin/ndctl, the operators' command line
	@$(BUILD) -o bin/ndring ./cmd/node
	@$(BUILD) -o bin/ndctl ./cmd/ndctl

image: build ## build the container image from bin/ndring alone (needs no registry)
	@scripts/image $(VERSION)

up: export NDRING_START := $(shell date +%s.%N)
up: image ## build the image, start a cluster of five containers, wait until it accepts writes (docs/deploy.md)
	@scripts/up

up-tls: export NDRING_START := $(shell date +%s.%N)
up-tls: image ## start them with TLS for clients and between nodes, with certificates of its own in .certs (docs/deploy.md)
	@scripts/up-tls

renew-tls: build ## renew the certificates of make up-tls while the nodes run
	@scripts/renew-tls

down: ## stop and remove the containers; keep the volumes with the arrays
	@scripts/down

logs: ## follow the logs of the containers until Ctrl-C
	@scripts/logs

upgrade: image ## build the image and replace the containers one after the other
	@scripts/upgrade

restart: ## restart the containers one after the other
	@scripts/restart

##@ Check it
.PHONY: check quick model model-check sim sim-nodes flaws nightly test race test-python test-tls test-wheel test-numpy2 versions faults soak e2e lint fuzz
check: lint test ## run everything that must pass before a change goes in

quick: need-go ## run the Go tests with fewer rounds, in about a minute: for the inner loop; COVER=1 counts the coverage
	@$(if $(COVER),scripts/coverage,go test -short ./...)

model-check: need-go ## check the rules of replication and that each rule left out is found, in small bounds (a minute)
	@scripts/step "model of replication" go test -count 1 ./replica/model
	@scripts/step "model runs" scripts/model smoke

model: need-go ## explore the rules of replication in larger bounds (10 to 15 minutes; replica/model/README.md)
	@scripts/step "model of replication" scripts/model

sim: need-go ## simulate the replicas of a shard: RUNS=n seeds, or SEED=n for one with its events
	@$(if $(SEED),NDRING_SIM_SEED=$(SEED),NDRING_SIM_SEEDS=$(or $(RUNS),400)) go test -count 1 -timeout 60m -v -run 'TestSimulation(OfMoves)?$$' ./replica

sim-nodes: need-go ## simulate five whole nodes under faults with a fake clock: RUNS=n seeds, or SEED=n for one with its faults
	@$(if $(SEED),NDRING_NODES_SEED=$(SEED),NDRING_NODES_SEEDS=$(or $(RUNS),10)) go test -count 1 -timeout 6h -v -run 'TestSimulatedNodes$$' ./internal/node | { grep -vE '^=== ' || true; }

flaws: need-go ## leave out each rule of replication, and check that a test finds that out (5 minutes)
	@scripts/step "flaws of replication" scripts/flaws

nightly: build ## run simulations, flaws and fault tests ten times as long as CI does; SMOKE=1: only check that each runs
	@scripts/nightly

test: announce race test-python test-asyncio test-tls test-wheel ## run all tests on this machine, with coverage (sets up what is missing, 10 to 20 minutes)

.PHONY: announce
announce: need-go
	@scripts/announce

race: need-go ## run only the Go tests, with the race detector and coverage
	@scripts/step "go test -race" scripts/test-go

test-python: build ## run only the Python suite, against real nodes
	@scripts/step "python suite" scripts/test-python

test-asyncio: build ## run the Python suite over the client for asyncio
	@NDRING_CLIENT=asyncio scripts/step "python suite, asyncio" scripts/test-python

TLS_FILES = test_failures or test_pipeline or test_views
test-tls: build ## run a part of the Python suite over TLS, with both clients; NDRING_TLS=1 scripts/test-python runs all of it
	@NDRING_TLS=1 scripts/step "python suite, TLS" scripts/test-python -k "$(TLS_FILES) or test_pool"
	@NDRING_TLS=1 NDRING_CLIENT=asyncio scripts/step "python suite, TLS, asyncio" scripts/test-python -k "$(TLS_FILES)"

test-wheel: build ## test the Python package as a wheel in a new environment
	@scripts/step "python wheel" scripts/test-wheel

test-numpy2: build ## run the Python suite on NumPy 2 (from PyPI, or in a Debian trixie root)
	@scripts/step "python suite on numpy 2" scripts/test-numpy2
	@NDRING_CLIENT=asyncio scripts/step "asyncio on numpy 2" scripts/test-numpy2 -k "test_client or test_collections or test_failures or test_pipeline or test_views"

versions: need-go ## run nodes of this version and of the one before in one cluster: upgrades, the way back, kills (1 to 2 minutes)
	@scripts/step "two versions" scripts/versions

faults: build ## kill real nodes, and simulate power loss, errors and damage, in thousands of variants
	@scripts/step "kill, power loss, damage" scripts/faults

e2e: build ## test the cluster of containers under faults, with clients inside and on the host (needs Docker)
	@scripts/step "cluster of containers" scripts/e2e

lint: need-go ## run gofmt, go vet, staticcheck, govulncheck, go mod tidy, mypy, codespell, shellcheck
	@scripts/step "lint" scripts/lint

soak: build ## run nodes under load, faults and hostile bytes for SOAKTIME (10m), and see whether they grow; SMOKE=1: some seconds
	@scripts/step "soak" scripts/soak $(SOAKTIME)

fuzz: need-go ## run every Go fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

# With SMOKE=1 each does the least of each of its cases, in seconds: what bench-smoke runs. RESULTS: the folder for reports.
.PHONY: bench bench-quick bench-eviction bench-disk bench-topology bench-cluster bench-clients bench-failover bench-beside bench-replicas bench-smoke churn
RESULTS ?= $(CURDIR)/bench/results
bench: ## compare with redis-server, Valkey, memcached and a server that stores nothing (about 10 minutes, as root)
	@scripts/bench $(if $(SMOKE),-smoke) -out $(RESULTS)

bench-quick: ## run fewer cases of bench in two minutes
	@scripts/bench -quick -rounds 1 -time 400ms $(if $(SMOKE),-smoke) -out $(RESULTS)

bench-eviction: build ## compare hit ratios with redis-server at equal memory (about 6 minutes)
	@scripts/setup-tools
	@cd bench && go run ./eviction $(if $(SMOKE),-smoke) -out $(RESULTS)/eviction.md

bench-disk: ## compare logs, snapshots and starts with redis-server (about 20 minutes)
	@scripts/bench disk $(if $(SMOKE),-smoke) -out $(RESULTS)/disk.md

bench-topology: need-go ## compare size and time of topology replies with redis-server (about 2 minutes)
	@scripts/setup-tools
	@NDRING_BENCH_TOPOLOGY=$(RESULTS)/topology.md go test $(if $(SMOKE),-short) -count 1 -run XXX -bench Topology -benchtime 1x ./protocol

bench-cluster: build ## store a million keys on three nodes with the Python client (about 4 minutes)
	@scripts/setup-python test
	@.venv/bin/python bench/python/cluster.py $(if $(SMOKE),--keys 3000) --out $(RESULTS)/cluster.md

bench-clients: build ## compare asyncio with redis.asyncio, and the near cache and parts of arrays with GET (about 2 minutes)
	@scripts/setup-python test
	@.venv/bin/python bench/python/clients.py $(if $(SMOKE),--smoke) --out $(RESULTS)/clients.md

bench-failover: build ## kill primaries and replicas, and hand over, compared with Redis Cluster (about 25 minutes)
	@scripts/setup-tools
	@cd bench && go run ./failover $(if $(SMOKE),-smoke) -out $(RESULTS)/failover.md

bench-beside: build ## measure small requests beside large values and on a busy machine, and catch-ups (about 20 minutes)
	@cd bench && go run ./beside $(if $(SMOKE),-smoke) -out $(RESULTS)/beside.md

bench-elastic: build ## grow and shrink a cluster under load, and measure clients beside moves (about 8 minutes)
	@scripts/setup-python test
	@cd bench && go run ./elastic $(if $(SMOKE),-smoke) -out $(RESULTS)/elastic.md

bench-replicas: ## compare writes with two copies with redis-server and Valkey (about 3 minutes, as root)
	@scripts/bench replicas $(if $(SMOKE),-smoke) -out $(RESULTS)/replicas.md

bench-smoke: build ## run each benchmark and churn for a few seconds, to check that they work
	@scripts/step "benchmarks run" scripts/bench-smoke

CHURN = $(if $(SMOKE),1s,5m)
churn: need-go ## run random operations for five minutes, with poisoned memory and with the race detector
	@scripts/setup-tools
	@NDRING_CHURN=$(CHURN) go test -tags poison -count 1 -timeout 10m -v -run Churn ./protocol
	@NDRING_CHURN=$(CHURN) go test -race -count 1 -timeout 10m -v -run Churn ./protocol

##@ Look after it
.PHONY: setup release clean
setup: ## install everything that the tests need (the other targets do this themselves)
	@scripts/setup-tools
	@scripts/setup-python test

DIST ?= $(CURDIR)/dist
release: need-go ## build everything that a release publishes into dist/ (docs/releasing.md); REHEARSE=1 takes any commit
	@scripts/release $(if $(REHEARSE),--rehearse) $(DIST)

clean: ## remove everything that was built or set up in this folder
	@rm -rf --one-file-system bin dist .venv .cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: need-go
need-go:
	@scripts/need-go
