# Every target makes its own virtual environment; nothing else has to be installed first.
#   make demo      a server with simulated phones on this machine     ARGS="--seconds 60"
#   make check     the fast half, before every commit (under a minute)
#   make test      all kinds of tests, reduced counts (up to 15 minutes)
#   make test-slow full counts, before a big change is called done
#   make sbom      what the server consists of, as CycloneDX: build/sbom.json
#   make audit     known weaknesses of the pinned packages; fails when one cannot be looked up (needs the network)
#   make bench     measurements, written to bench/results/latest.json  ARGS="--only ingest"
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
VENV := .venv/.ready
AUDIT := .venv-audit/.ready
NODE := tests/interop/node_modules/.package-lock.json

# These start real servers, clients and browsers: three files at a time; those marked `alone` have the machine to themselves.
SERVED := $(patsubst %/,%,$(sort $(dir $(wildcard $(addsuffix /test_*.py, \
	tests/integration tests/interop tests/e2e tests/faults tests/hostile)))))
BESIDE := $(patsubst %/,%,$(sort $(dir $(wildcard $(addsuffix /test_*.py, \
	tests/contract tests/meta tests/scenario tests/unit/*)))))

.PHONY: help demo check lint test test-slow sbom audit bench venv system-test clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(VENV)

$(VENV): requirements/dev.lock pyproject.toml tools/make_venv.sh
	@PYTHON="$(PYTHON)" bash tools/make_venv.sh
	@touch $@

$(NODE): tests/interop/package-lock.json
	@if command -v npm >/dev/null; then \
		cd tests/interop && npm ci --no-audit --no-fund --loglevel=error; \
	else \
		echo "npm is not installed: the tests with Node's ws are skipped"; \
	fi

system-test:
	@bash tools/system_packages.sh node chromium strace

demo: $(VENV)
	@$(BIN)/doorstep demo $(ARGS)

lint: $(VENV)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@out=$$($(BIN)/lint-imports) || { echo "$$out"; exit 1; }
	@$(BIN)/mypy

check: lint
	@$(BIN)/pytest -q -m "not slow and not full" -n auto $(BESIDE) $(SERVED) $(ARGS)

test: $(VENV) system-test
	@$(MAKE) $(NODE)
	@$(MAKE) lint
	@$(BIN)/pytest -q -m "not full" -n auto --dist worksteal $(BESIDE) $(ARGS) || { \
		test $$? -eq 1 && echo "what failed beside others is run again, with the machine to itself" && \
		$(BIN)/pytest -q -m "not full" --last-failed --last-failed-no-failures none $(BESIDE) $(ARGS); }
	@$(BIN)/pytest -q -m "not full and not alone" -n 3 --dist loadfile $(SERVED) $(ARGS) || { \
		test $$? -eq 1 && echo "what failed beside others is run again, with the machine to itself" && \
		$(BIN)/pytest -q -m "not full and not alone" --last-failed --last-failed-no-failures none $(SERVED) $(ARGS); }
	@$(BIN)/pytest -q -m "not full and alone" $(SERVED) $(ARGS)

test-slow: $(VENV) system-test
	@$(MAKE) $(NODE)
	@$(MAKE) lint
	@$(BIN)/pytest -q -n auto --dist worksteal --timeout 7200 $(BESIDE) $(ARGS)
	@$(BIN)/pytest -q --timeout 7200 $(SERVED) $(ARGS)

# In an environment of its own: what looks at the packages does not run with them.
$(AUDIT): requirements/audit.lock
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.lock
	@touch $@

sbom: $(AUDIT)
	@mkdir -p build
	@.venv-audit/bin/cyclonedx-py requirements requirements/run.lock --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file build/sbom.json
	@echo "wrote build/sbom.json"

audit: $(AUDIT)
	@.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/run.lock

bench: $(VENV)
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf .venv .venv-audit build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
		.hypothesis tests/interop/node_modules
