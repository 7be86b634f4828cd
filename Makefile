.DEFAULT_GOAL := help
.PHONY: help run test check format lock
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
GROUPS_LOCKED := crm_api inventory_api integration_service dev
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

# What running needs, and what changing needs.
.venv/running: requirements/crm_api.txt requirements/integration_service.txt
.venv/installed: requirements/dev.txt
.venv/running .venv/installed:
	$(PYTHON) -m venv .venv
	$(INSTALL) $(addprefix -r ,$^)
	@touch $@

run: .venv/running ## all three services on this machine, no Docker; one Ctrl-C stops all
	@set -a; [ ! -f .env ] || . ./.env; $(BIN)/python tools/run_local.py

test: .venv/installed ## all tests but those that need a Docker engine
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered \
		--cov-fail-under=90 $(ARGS)

check: .venv/installed ## format, lint, types, import rules, lock file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_rules.py
	$(BIN)/python tools/check_lock.py $(GROUPS_LOCKED)

format: .venv/installed ## rewrite the code in the house's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: .venv/installed ## compile pyproject.toml's groups to requirements/*.txt
	@for group in $(GROUPS_LOCKED); do \
		$(COMPILE) --upgrade --group $$group --output-file requirements/$$group.txt || exit 1; done
