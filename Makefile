# The developer's commands. `make` alone lists them.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash -euo pipefail
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

.PHONY: test
test: checks-setup ## every check: format, lints, unit, property and end-to-end tests
	@$(MAKE) format-check lint balancer
	@scripts/test

.PHONY: soak
ifdef SEEDS
soak: simulate
else
soak: checks-setup ## long runs: change under load, a starved host, kills at each step twice in a row: bench/results; SEEDS=n: as simulate
	@$(MAKE) balancer
	@rm -f bench/results/lossless.json bench/results/detection.json
	@EVENKEEL_SOAK=10 EVENKEEL_SOAK_RESULTS=$(CURDIR)/bench/results/lossless.json \
	  scripts/test --profile soak -E 'binary(lossless)'
	@EVENKEEL_SOAK=20 EVENKEEL_SOAK_RESULTS=$(CURDIR)/bench/results/detection.json \
	  scripts/test --profile soak --run-ignored all -E 'binary(detection) & test(starved)'
	@EVENKEEL_SOAK=1 scripts/test --profile soak --run-ignored all -E 'binary(steps)'
endif

.PHONY: simulate
simulate: ## the controller in SEEDS (1000) worlds of faults, from seed FROM; SEED=n: one of them, step by step
	@cargo run --quiet --locked --package simulation --bin simulate -- \
	  $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),0)) \
	  $(if $(BUG),--bug $(BUG)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(CHANGES),--changes $(CHANGES))

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
	@$(TOOLS)/cargo-deny --log-level error --locked --offline check licenses bans sources

.PHONY: bench
bench: image ## time from request to first answer, side by side by driver
	@EVENKEEL_PROGRAM=$(CURDIR)/target/release/evenkeel \
	  EVENKEEL_BALANCER=$(CURDIR)/target/release/evenkeel-balancer EVENKEEL_IMAGE=$(CURDIR)/$(IMAGE) \
	  cargo run --quiet --locked --package bench --bin bench-create -- 10 bench/results/create.json

.PHONY: bench-failover
bench-failover: image ## how long a dead VM is felt, by driver, killed and frozen, alone and not (ROUNDS=20)
	@EVENKEEL_PROGRAM=$(CURDIR)/target/release/evenkeel \
	  EVENKEEL_BALANCER=$(CURDIR)/target/release/evenkeel-balancer EVENKEEL_IMAGE=$(CURDIR)/$(IMAGE) \
	  cargo run --quiet --locked --package bench --bin bench-failover -- $(or $(ROUNDS),20) bench/results/failover.json

.PHONY: bench-scaling
bench-scaling: image ## how fast the number of VMs follows the load, by driver, and what is lost by it: nothing (ROUNDS=3)
	@EVENKEEL_PROGRAM=$(CURDIR)/target/release/evenkeel \
	  EVENKEEL_BALANCER=$(CURDIR)/target/release/evenkeel-balancer EVENKEEL_IMAGE=$(CURDIR)/$(IMAGE) \
	  cargo run --quiet --locked --package bench --bin bench-scaling -- $(or $(ROUNDS),3) bench/results/scaling.json

.PHONY: fuzz
fuzz: ## arbitrary bytes for everything that reads them, each target for MINUTES (15), TARGETS="…" for some
	@scripts/fuzz

# Figures of a quick or partial run are no results to keep.
BENCH_RESULTS := $(if $(QUICK)$(ONLY)$(BEFORE),target/bench-balancer.json,bench/results/balancer.json)

.PHONY: bench-balancer
bench-balancer: balancer ## the balancer's CPU, memory and latency beside HAProxy and nginx (QUICK=1: a first look)
	@scripts/setup peers
	@cargo build --quiet --release --locked --package bench --bin bench-balancer
	@target/release/bench-balancer --balancer $(BALANCER) --results $(BENCH_RESULTS) $(if $(QUICK),--quick) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(BEFORE),--before $(BEFORE))

.PHONY: clean
clean: ## remove what was built
	@cargo clean
