# The verbs that a newcomer tries. Each is a script in scripts/, which says what it installs.

.PHONY: help demo test chaos lint bench install
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## A real MCP server in a sandbox: what it tried, what the policy said, what happened
	@scripts/demo

test: ## Everything, end-to-end tests included
	@scripts/test

chaos: ## Hosts, while all below them is killed: SECONDS=300 from SEED=1 on; with SEED alone, that one again
	@SRT_CHAOS_SEED='$(SEED)' SRT_CHAOS_SECONDS='$(SECONDS)' scripts/chaos

lint: ## Format, clippy, the arrows between rooms, licences
	@scripts/lint

bench: ## What the README's figures come from
	@scripts/bench

install: ## srtd, srtctl, srt and srt-jail in PREFIX/bin (default ~/.local)
	@scripts/install
