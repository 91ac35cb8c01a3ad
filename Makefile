# The developer's commands. `make` alone lists them.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash -euo pipefail
# Programs are looked for where they are built by default.
unexport CARGO_TARGET_DIR
TOOLS := target/tools/bin
STATIC := x86_64-unknown-linux-gnu
BALANCER := target/$(STATIC)/release/evenkeel-balancer
IMAGE := target/image

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: ## install what is missing for building and the demo
	@scripts/setup

.PHONY: build
build: setup balancer ## the programs, as they are installed: target/release/evenkeel and evenkeel-balancer
	@cargo build --release --locked --package evenkeel
	@install -m 755 $(BALANCER) target/release/evenkeel-balancer

# Static, because it is the only program in a VM; optimised across crates, which takes 3 % off a request's CPU
# time for ten seconds of compiling. It still unwinds: a forwarding thread that panics says so and ends the process.
.PHONY: balancer
balancer:
	@RUSTFLAGS="-C target-feature=+crt-static" \
	  CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
	  cargo build --release --locked --package balancer --target $(STATIC)

.PHONY: image
image: build ## the VM image: target/image
	@scripts/image target/release/evenkeel $(BALANCER) $(IMAGE)

.PHONY: demo
demo: image ## a load balancer in front of three servers, in a network of its own (ONCE=1: check and exit)
	@scripts/demo

.PHONY: docs
docs: ## the documents as a book: target/book
	@scripts/setup docs
	@scripts/book

.PHONY: reference
reference: ## write the pages anew that are made from the code
	@EVENKEEL_WRITE_PAGES=1 cargo test --quiet --locked --package model --test words
	@EVENKEEL_WRITE_PAGES=1 cargo test --quiet --locked --package evenkeel --bin evenkeel pages

.PHONY: test
test: checks-setup ## every check: format, lints, unit, property and end-to-end tests
	@$(MAKE) format-check lint report-check balancer
	@scripts/test

.PHONY: soak
ifdef SEEDS
soak: simulate
else
soak: checks-setup ## long runs: change under load, a starved host, kills at each step twice in a row, soak-kills: bench/results; SEEDS=n: as simulate
	@$(MAKE) balancer
	@$(MAKE) bench-lossless
	@bench/keep bench/results/detection.json env EVENKEEL_SOAK=20 EVENKEEL_SOAK_RESULTS={} \
	  scripts/test --profile soak --run-ignored all -E 'binary(detection) & test(starved)'
	@EVENKEEL_SOAK=1 scripts/test --profile soak --run-ignored all -E 'binary(steps)'
	@$(MAKE) soak-kills
endif

.PHONY: soak-kills
soak-kills: ## the monitor killed KILLS (100) times while figures come
	@EVENKEEL_KILLS=$(or $(KILLS),100) cargo test --quiet --locked --package monitor --test kills --test kills_while_sealing

.PHONY: simulate
simulate: setup ## the controller in SEEDS (1000) worlds of faults, from seed FROM; SEED=n: one of them, step by step
	@cargo run --quiet --locked --package simulation --bin simulate -- \
	  $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),0)) \
	  $(if $(BUG),--bug $(BUG)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(CHANGES),--changes $(CHANGES)) \
	  $(if $(INSTANCES),--instances $(INSTANCES))

.PHONY: checks-setup
checks-setup:
	@scripts/setup checks

.PHONY: format
format: ## rewrite the sources in the usual form
	@cargo fmt --all

.PHONY: format-check
format-check:
	@cargo fmt --all --check

.PHONY: lint
lint: checks-setup ## clippy with warnings denied, and licences and sources of dependencies
	@cargo clippy --workspace --all-targets --locked -- --deny warnings
	@cargo fetch --quiet --locked
	@# The fuzz targets are a workspace of their own, which no other check here looks at.
	@cargo metadata --quiet --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null
	@$(TOOLS)/cargo-deny --log-level error --locked --offline check licenses bans sources

.PHONY: fuzz
fuzz: ## arbitrary bytes for everything that reads them, each target for MINUTES (15), TARGETS="…" for some; needs nightly
	@scripts/fuzz

# Figures of a quick or partial run are no results to keep.
RESULTS := $(if $(QUICK),target/bench/results,bench/results)
KEEP := bench/keep
# Measurements of Evenkeel whole take the programs that are installed.
WHOLE := EVENKEEL_PROGRAM=$(CURDIR)/target/release/evenkeel EVENKEEL_IMAGE=$(CURDIR)/$(IMAGE) \
  EVENKEEL_BALANCER=$(CURDIR)/target/release/evenkeel-balancer
MEASURE = @$(WHOLE) $(KEEP) $(RESULTS)/$(1).json target/debug/bench-$(1) $(2)

.PHONY: bench
bench: image ## every measurement that the report is made of; goes on where it was stopped (QUICK=1: a first look)
	@bench/all $(if $(QUICK),--quick) $(if $(AGAIN),--again)

.PHONY: report
report: ## the project report from the newest results: target/report/report.html and report.pdf
	@scripts/setup report
	@target/report/venv/bin/python -m report target/report
	@scripts/print target/report/report.html target/report/report.pdf

.PHONY: report-check
report-check: checks-setup ## the report is made from the results that are kept, and no figure in it is typed by hand
	@target/report/venv/bin/python -m unittest discover --quiet --start-directory report --top-level-directory .
	@target/report/venv/bin/python -m unittest discover --quiet --start-directory bench

# Everything that measurements need, so that no compiler runs beside one.
.PHONY: bench-build
bench-build: image bench-programs
	@scripts/setup peers
	@scripts/setup stores
	@cargo build --quiet --release --locked --package bench
	@cargo build --quiet --locked --package simulation --bin simulate
	@cargo test --quiet --locked --package network --test isolation --no-run
	@$(if $(QUICK),,$(MAKE) checks-setup && cargo build --quiet --locked --workspace --all-targets)

# The programs that measure Evenkeel whole only ask and wait: how they are built is of no account.
.PHONY: bench-programs
bench-programs:
	@cargo build --quiet --locked --package bench --package end-to-end --bins

.PHONY: bench-create
bench-create: image bench-programs ## time from request to first answer, stage by stage, by driver (ROUNDS=10)
	$(call MEASURE,create,$(or $(ROUNDS),$(if $(QUICK),3,10)) {})

.PHONY: bench-failover
bench-failover: image bench-programs ## how long a dead VM is felt, by driver, killed and frozen, alone and not (ROUNDS=20)
	$(call MEASURE,failover,$(or $(ROUNDS),$(if $(QUICK),1,20)) {})

.PHONY: bench-return
bench-return: image bench-programs ## how a VM that was replaced comes back, by driver (ROUNDS=5)
	$(call MEASURE,return,$(or $(ROUNDS),$(if $(QUICK),1,5)) {})

.PHONY: bench-scaling
bench-scaling: image bench-programs ## how fast the number of VMs follows the load, by driver, and what is lost by it: nothing (ROUNDS=3)
	$(call MEASURE,scaling,$(or $(ROUNDS),$(if $(QUICK),1,3)) {} $(if $(QUICK),process))

.PHONY: bench-autoscaling
bench-autoscaling: image bench-programs ## load, VMs and latency second by second: a step, a flash crowd, two days
	$(call MEASURE,autoscaling,$(if $(QUICK),--quick) {})

.PHONY: bench-plan
bench-plan: ## what the controller's decisions cost with 100, 1,000 and 10,000 instances (ROUNDS=21)
	@cargo build --quiet --release --locked --package bench --bin bench-plan
	@$(KEEP) $(RESULTS)/plan.json target/release/bench-plan $(or $(ROUNDS),$(if $(QUICK),3,21)) {}

.PHONY: bench-balancer
bench-balancer: setup balancer ## the balancer's CPU, memory and latency beside HAProxy and nginx (QUICK=1: a first look)
	@scripts/setup peers
	@cargo build --quiet --release --locked --package bench --bin bench-balancer
	@$(KEEP) $(if $(ONLY)$(BEFORE),target/bench/results,$(RESULTS))/balancer.json \
	  target/release/bench-balancer --balancer $(BALANCER) --results {} $(if $(QUICK),--quick) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(BEFORE),--before $(BEFORE))

.PHONY: bench-monitor
bench-monitor: setup ## the monitor log's disk, CPU, memory and answers beside RRDtool and Prometheus (ROUNDS=3; QUICK=1: a first look)
	@scripts/setup stores
	@cargo build --quiet --release --locked --package bench --bin bench-monitor
	@$(KEEP) $(RESULTS)/monitor.json target/release/bench-monitor --recording bench/traces/monitor.xz \
	  --rounds $(or $(ROUNDS),3) $(if $(QUICK),--quick) --results {}

.PHONY: bench-isolation
bench-isolation: setup ## what one project's VM tries against others, and what became of each attempt
	@cargo test --quiet --locked --package network --test isolation --no-run
	@$(KEEP) --lines $(RESULTS)/isolation.json \
	  env EVENKEEL_ISOLATION_RESULTS={} cargo test --quiet --locked --package network --test isolation

.PHONY: bench-simulation
bench-simulation: setup ## the simulation's figures (SEEDS=1000, FROM=0), one more of the runs that are kept
	@cargo build --quiet --locked --package simulation --bin simulate
	@$(KEEP) --append $(RESULTS)/simulation.json target/debug/simulate \
	  --seeds $(or $(SEEDS),$(if $(QUICK),100,1000)) --from $(or $(FROM),0) --results {}

.PHONY: bench-lossless
bench-lossless: checks-setup balancer ## requests lost while backends and balancers change, are killed and replaced under load: none
	@$(KEEP) $(RESULTS)/lossless.json env EVENKEEL_SOAK=$(if $(QUICK),1,10) EVENKEEL_SOAK_RESULTS={} \
	  scripts/test --profile soak -E 'binary(lossless)'

.PHONY: bench-access-log
bench-access-log: balancer ## what the access log costs in CPU a request (ROUNDS=400)
	@cargo build --quiet --release --locked --package bench --bin bench-access-log
	@taskset -c 1 target/release/bench-access-log $(BALANCER) $(or $(ROUNDS),400)

.PHONY: clean
clean: ## remove what was built
	@cargo clean
