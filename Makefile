# `make help` lists the targets.
SHELL := /bin/bash
CACHE ?= $(or $(KINTSUGI_CACHE),$(HOME)/.cache/kintsugi)
CARGO_DENY := 0.20.2

.PHONY: help build test test-browser crash bench demo lint audit fmt crds docs image up down tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the release binary
	cargo build --release

test: ## Run all tests, on a real control plane that is started and stopped (first time: about a quarter of an hour to build what it needs)
	tests/run.sh

test-browser: ## Look at the pages in a browser, as people do; the pictures are in target/browser
	tests/run.sh --test control_plane -- browser::

crash: ## Kill the operator after each of its writes, and see that it comes to the same end
	tests/run.sh --test crash

bench: ## Measure heals, memory and validation on a control plane that is started and stopped (FSYNC=1: durable writes)
	benches/run.sh $(ARGS)

demo: ## Watch contracts break and heal on a real API server (HOLD=1 keeps it running, CLUSTER=current uses yours)
	deploy/demo.sh

lint: tools ## Check format, lints, licenses and sources
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test crash -- -D warnings
	$(CACHE)/tools/bin/cargo-deny --log-level error check bans licenses sources

audit: tools ## Check dependencies for advisories (fetches the advisory database)
	$(CACHE)/tools/bin/cargo-deny --log-level error check advisories

fmt: ## Format the code
	cargo fmt

crds: ## Write the CustomResourceDefinitions into crds/ and into the chart
	cargo run --quiet -- crds --out crds
	cargo run --quiet -- crds --out charts/kintsugi/files/crds

docs: ## Write the pages that are made from the code: docs/api.md, docs/metrics.md
	cargo run --quiet -- reference api > docs/api.md
	cargo run --quiet -- reference metrics > docs/metrics.md

image: ## Build the static binary and the container image target/kintsugi.oci.tar, and run it once
	deploy/image.sh

up: ## Start a control plane; its kubeconfig is .run/admin.kubeconfig
	tests/controlplane/up.sh .run

down: ## Stop it
	tests/controlplane/down.sh .run

tools: ## Install the lint tools, pinned, into the cache
	@test "$$($(CACHE)/tools/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny $(CARGO_DENY)" || \
	  cargo install cargo-deny --version $(CARGO_DENY) --locked --root $(CACHE)/tools

clean: down ## Remove what was built here; the caches outside the checkout stay
	rm -rf target .run
