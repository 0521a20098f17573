# Two commands do all: `make demo` and `make test`. Both set up what they need outside the clone and skip what is there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PIPELINE ?= pipelines/smollm2-demo.yaml
CARGO ?= cargo
PYTHON ?= python3
STEP := scripts/step.sh
# Of the advisory database cargo-deny needs a copy from the network: `make deny DENY=` checks that, too.
DENY ?= bans licenses sources

.PHONY: help
help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PIPELINE=FILE.yaml   the spec that the demo drops into the folder ($(PIPELINE))"

.PHONY: demo
demo: ## compress SmolLM2 with the real daemon: drop a spec into a folder, follow the run
	@$(STEP) "set up libtorch, model and text" $(PYTHON) scripts/setup.py all-for-demo
	@$(STEP) "build daemon, worker and plugins" $(CARGO) build --workspace
	@scripts/demo.sh $(PIPELINE)

.PHONY: test
test: ## build everything and run every test
	@$(STEP) "set up libtorch, model and the tests' tools" $(PYTHON) scripts/setup.py all-for-test
	@$(STEP) "build the workspace" $(CARGO) build --workspace
	@$(STEP) "build the tests" $(CARGO) test --workspace --no-run
	@$(STEP) "run the tests" $(PYTHON) scripts/run_tests.py --workspace

.PHONY: check
check: ## what to run after each change: formatting, clippy, and the tests that need no libtorch, model or other program
	@$(STEP) "set up libtorch" $(PYTHON) scripts/setup.py libtorch
	@$(STEP) "check formatting" $(CARGO) fmt --all --check
	@$(STEP) "run clippy" $(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(STEP) "run the quick tests" $(PYTHON) scripts/run_tests.py $$($(PYTHON) scripts/check_packages.py)

.PHONY: lint
lint: ## formatting, clippy, documentation and third-party crates, as CI sees them
	@$(STEP) "set up libtorch" $(PYTHON) scripts/setup.py libtorch
	@$(STEP) "check formatting" $(CARGO) fmt --all --check
	@$(STEP) "run clippy" $(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(MAKE) doc
	@$(MAKE) deny

.PHONY: doc
doc: ## the documentation of all crates, with warnings as errors
	@$(STEP) "set up libtorch" $(PYTHON) scripts/setup.py libtorch
	@$(STEP) "build the documentation" env RUSTDOCFLAGS="$(RUSTDOCFLAGS) -D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps

.PHONY: deny
deny: ## licences and sources of third-party crates (deny.toml; DENY= for advisories, too)
	@$(STEP) "check third-party crates" "$$($(PYTHON) scripts/setup.py cargo-deny)" check $(DENY)

.PHONY: sanitize
sanitize: ## tensors, plugin boundary and packing under AddressSanitizer
	@$(STEP) "run the tests under AddressSanitizer" scripts/sanitize.sh

.PHONY: miri
miri: ## tensors, plugin boundary and packing under Miri (needs a nightly toolchain with miri)
	@$(STEP) "run the tests under Miri" scripts/miri.sh

.PHONY: fuzz
fuzz: ## fuzz the readers of models and specs, each for FUZZ_SECONDS=60 (TARGET=config for one, MINIMIZE=1 for a small corpus)
	@$(STEP) "fuzz" env CARGO_FUZZ="$$($(PYTHON) scripts/setup.py cargo-fuzz)" scripts/fuzz.sh $(TARGET)

.PHONY: gpu-kit
gpu-kit: ## pack programs and tests for a machine with a GPU, where scripts/gpu_check.sh runs them
	@$(STEP) "set up libtorch" $(PYTHON) scripts/setup.py libtorch
	@$(STEP) "build and pack" $(PYTHON) scripts/gpu_kit.py

.PHONY: bench
bench: ## benchmarks, with plain PyTorch beside them
	@$(STEP) "set up libtorch, model and the tests' tools" $(PYTHON) scripts/setup.py all-for-test
	@$(STEP) "make the benchmarks' text" $(PYTHON) scripts/reference_text.py
	@$(STEP) "build daemon, worker and plugins" $(CARGO) build --workspace
	@$(STEP) "start the daemon and a run" $(PYTHON) scripts/bench_daemon.py
	@$(STEP) "run the benchmarks" $(CARGO) bench --profile dev --workspace --bench candidate

.PHONY: bench-families
bench-families: ## one candidate of a model of each family, with transformers beside it (ARGS="--help")
	@$(STEP) "set up libtorch, model and the tests' tools" $(PYTHON) scripts/setup.py all-for-test
	@$(PYTHON) scripts/bench_families.py $(ARGS)

.PHONY: bench-build
bench-build: ## level databases, with plain PyTorch beside them (ARGS="--help")
	@$(STEP) "set up libtorch, model and the tests' tools" $(PYTHON) scripts/setup.py all-for-test
	@$(STEP) "make the benchmarks' text" $(PYTHON) scripts/reference_text.py
	@$(STEP) "build daemon, worker and plugins" $(CARGO) build --workspace
	@$(PYTHON) scripts/bench_build.py $(ARGS)

.PHONY: bench-search
bench-search: ## the searches against each other on SmolLM2 (days for all of it; ARGS="--help")
	@$(STEP) "set up libtorch and model" $(PYTHON) scripts/setup.py all-for-demo
	@$(STEP) "make the benchmarks' text" $(PYTHON) scripts/reference_text.py
	@$(STEP) "build daemon, worker and plugins" $(CARGO) build --workspace
	@$(PYTHON) scripts/bench_search.py $(ARGS)

.PHONY: bench-experts
bench-experts: ## searches over up to 18,432 layers of random experts (ARGS="12 24" for other numbers of blocks)
	@$(STEP) "set up libtorch" $(PYTHON) scripts/setup.py libtorch
	@$(CARGO) bench --profile dev --workspace --bench experts -- $(ARGS)

.PHONY: bench-gguf
bench-gguf: ## GGUF results against llama.cpp's own quantizations (hours; ARGS="--help")
	@$(STEP) "set up libtorch, model and the tests' tools" $(PYTHON) scripts/setup.py all-for-test
	@$(STEP) "build daemon, worker and plugins" $(CARGO) build --workspace
	@$(PYTHON) scripts/bench_gguf.py $(ARGS)

.PHONY: bench-uploads
bench-uploads: ## 4 GB to each registry, with curl and boto3 beside it (ARGS="2" for 2 GB)
	@$(STEP) "set up libtorch and the tests' servers" $(PYTHON) scripts/setup.py all-for-test
	@$(CARGO) bench --profile dev --workspace --bench uploads -- $(ARGS)

.PHONY: clean
clean: ## remove what was built here; the cache outside the clone stays
	@$(CARGO) clean
