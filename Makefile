# Three commands for people; each does all its own set-up. `cargo xtask` has the finer ones.

SHELL := /bin/bash

# Namespaces, cgroups and packet rules need root. Building does not: only what runs is run with sudo.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RUNNER := $(if $(AS_ROOT),CARGO_TARGET_$(shell echo '$(HOST)' | tr 'a-z-' 'A-Z_')_RUNNER="$(AS_ROOT)",)

.PHONY: help setup demo test bench

help:
	@echo 'make demo    a real six-node fleet, broken on purpose, and the report (about 5 minutes after the build)'
	@echo 'make test    all checks and tests, as CI runs them'
	@echo 'make bench   the figures of docs/benchmarks.md'
	@echo 'make setup   only the system packages and cargo tools that the others need'

setup:
	@scripts/setup test bench

demo:
	@scripts/setup demo
	cargo build --locked --package firedrill
	$(AS_ROOT) target/debug/firedrill demo $(ARGS)

test:
	@scripts/setup test
	$(RUNNER) cargo xtask ci $(STAGES)

bench:
	@scripts/setup bench
	cargo build --locked --release --package firedrill
	$(RUNNER) cargo xtask bench $(ARGS)
