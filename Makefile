# The verbs that a newcomer tries. Each is a script in scripts/, which says what it installs.

.PHONY: help demo test lint bench install
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## A real MCP server in a sandbox: what it tried, what the policy said, what happened
	@scripts/demo

test: ## Everything, end-to-end tests included
	@scripts/test

lint: ## Format, clippy, the arrows between rooms, licences
	@scripts/lint

bench: ## What the README's figures come from
	@scripts/bench

install: ## srtd, srtctl, srt and srt-jail in PREFIX/bin (default ~/.local), and a systemd user unit
	@scripts/install
