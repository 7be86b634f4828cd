.DEFAULT_GOAL := help
.PHONY: help run test test-quick test-oldest sweeps mutants bench test-postman test-oidc test-docs test-console screenshots test-spectral test-webhooks test-pgbouncer chaos simulate coverage check check-deploy audit format lock postman up down logs docker-build-local docker-build docker-run docker-push docker-push-dev docker-push-prod docker-push-deploy test-images
# The command that .venv was made by, where it is there.
PYTHON ?= $(shell made_by=$$(sed -n 1p .venv/made-by 2>/dev/null); \
	command -v "$$made_by" >/dev/null && echo "$$made_by" || echo python3)
BIN := .venv/bin
SHIPPED := crm_api inventory_api integration_service aws_lambda
GROUPS_LOCKED := service_kit $(SHIPPED) dev images audit bench
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

# What running needs, what development needs, and so on. These are no files, so each verb looks again.
.venv/for-running: LOCKS := crm_api integration_service
.venv/for-development: LOCKS := dev
.venv/for-images: LOCKS := images
.venv/for-running .venv/for-development .venv/for-images:
	@$(PYTHON) tools/install.py --python "$(PYTHON)" $(LOCKS)

run: .venv/for-running ## all three services on this machine, no Docker; one Ctrl-C stops all
	@$(BIN)/python -m tools.run_local

# Twice as many workers as two cores, since many tests wait for a process or a disk.
PYTEST_WORKERS := -n 4 --dist worksteal
# An image may forbid bytecode; then each of some hundred processes would compile all code again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_WORKERS)

test: .venv/for-development ## all tests but those that need a Docker engine, each on one database engine
	$(if $(ARGS),,SWEEP=sample) $(PYTEST) $(ARGS)

# One engine and no whole processes: what to run between two edits.
QUICK_TESTS := -m "not slow" -k "not postgresql" --ignore=tests/system --ignore=tests/simulation

test-quick: .venv/for-development ## the tests on SQLite that need no process of their own
	$(PYTEST) $(QUICK_TESTS) $(ARGS)

test-oldest: .venv/for-development ## the same, with the oldest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/oldest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --group dev --output-file .venv/oldest.txt
	$(BIN)/uv pip install --quiet --no-deps --python .venv/oldest --requirement .venv/oldest.txt
	.venv/oldest/bin/python -m pytest $(PYTEST_WORKERS) $(QUICK_TESTS) $(ARGS)

sweeps: .venv/for-development ## the tests that otherwise try a sample of many points, with all of them; and the long ones
	SWEEP=whole $(PYTEST) -m sweep $(ARGS)

mutants: .venv/for-development ## plant bugs, package by package; the tests must catch each
	$(BIN)/python -m pytest -n 2 tests/mutants/run.py $(ARGS)

bench: .venv/for-development ## measure against what else one would use; PARTS="http pipeline", QUICK=1
	$(BIN)/python -m bench $(if $(QUICK),--quick) --json bench.json $(PARTS)

# Seconds of faults over both engines; the same seed has the same faults in store. CHAOS_FAULTS names
# some kinds of them: links,kills,mute,clocks,restores,pauses. A socket that is
# reset while the clients' HTTP library connects is not closed by it.
chaos: export CHAOS_SECONDS = $(DURATION)
chaos: export CHAOS_SEED = $(SEED)
chaos: .venv/for-development ## kill and disturb a loaded stack for DURATION seconds; SELFTEST=1 plants bugs for it
	$(BIN)/python -m pytest -W "ignore:unclosed <socket:ResourceWarning" \
		tests/chaos/test_$(if $(SELFTEST),planted_bugs,campaign).py $(ARGS)

# The same seed gives the same run to the letter. DURATION bounds the seconds it takes; LOG=1 tells all that
# happened in a failure.
simulate: .venv/for-development ## simulate the platform and its faults, SEED= EXAMPLES=; SELFTEST=1 plants bugs for it
	$(BIN)/python -m $(if $(SELFTEST),pytest tests/simulation/selftest.py $(ARGS),tests.simulation \
		$(addprefix --seed=,$(SEED)) $(addprefix --examples=,$(EXAMPLES)) \
		$(addprefix --seconds=,$(DURATION)) $(if $(LOG),--log))

# newman, an OpenID provider, what steers a browser, axe, Spectral and AsyncAPI's parser; the lock file has their hashes.
tests/node/node_modules: tests/node/package-lock.json
	npm ci --silent --ignore-scripts --prefix tests/node
	@touch $@

test-postman: .venv/for-development tests/node/node_modules ## newman runs the Postman collection; needs Node
	$(BIN)/python -m pytest tests/node/test_postman.py $(ARGS)

test-oidc: .venv/for-development tests/node/node_modules ## a certified OpenID provider signs people in; needs Node
	$(BIN)/python -m pytest tests/node/test_oidc.py $(ARGS)

test-docs: .venv/for-development tests/node/node_modules ## /docs and /redoc in a browser; needs Node and Chromium
	$(BIN)/python -m pytest tests/node/test_docs.py $(ARGS)

test-console: .venv/for-development tests/node/node_modules ## people work in the console in a browser; needs Node and Chromium
	$(BIN)/python -m pytest tests/node/test_console.py tests/node/test_console_jobs.py tests/node/test_console_live.py $(ARGS)

screenshots: export README_PICTURES = docs/pictures
screenshots: .venv/for-development tests/node/node_modules ## take the pictures in the README and the docs anew; needs Node and Chromium
	$(BIN)/python -m pytest tests/node/test_console.py $(ARGS)

test-spectral: .venv/for-development tests/node/node_modules ## OWASP's rules and AsyncAPI's parser read the descriptions; needs Node
	$(BIN)/python -m pytest tests/node/test_spectral.py tests/node/test_asyncapi.py $(ARGS)

test-webhooks: .venv/for-development tests/node/node_modules ## a receiver in Node verifies webhooks by the standard's library; needs Node
	$(BIN)/python -m pytest tests/node/test_webhooks.py $(ARGS)

test-pgbouncer: .venv/for-development ## the services behind PgBouncer, and a standby of PostgreSQL that takes over; needs PgBouncer
	$(BIN)/python -m pytest tests/machines $(ARGS)

coverage: .venv/for-development ## the same, and what of the code they reach; htmlcov/index.html shows each line
	$(BIN)/python -m coverage erase
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html --cov-fail-under=90 $(ARGS)

check: .venv/for-development ## format, lint, types, import rules, events, locks; the Dockerfile where buildx is
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_rules.py
	$(BIN)/python -m tools.check_events
	$(BIN)/python tools/check_lock.py $(GROUPS_LOCKED)
	@if ! docker buildx version >/dev/null 2>&1 || ! docker info >/dev/null 2>&1; \
	then echo "No Docker engine with buildx: the Dockerfile is not checked."; \
	else $(BAKE) validate; fi

.venv/audit: requirements/audit.txt .venv/for-development
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $@
	@$(BIN)/uv pip install --quiet --no-deps --require-hashes --python $@ --requirement $<
	@touch $@

check-deploy: .venv/audit ## checkov over deploy/; deploy/.checkov.yaml has its exceptions
	LOG_LEVEL=ERROR .venv/audit/bin/checkov --config-file deploy/.checkov.yaml

audit: .venv/audit ## ask the registry whether anything that is locked is known to be vulnerable
	@for group in $(SHIPPED) dev; do \
		.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
			--requirement requirements/$$group.txt || exit 1; done

postman: .venv/for-development ## write the Postman collection anew from the OpenAPI descriptions
	$(BIN)/python -m tools.postman

format: .venv/for-development ## rewrite the code in the house's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: .venv/for-development ## compile pyproject.toml's groups to requirements/*.txt
	@for group in $(GROUPS_LOCKED); do \
		$(COMPILE) --upgrade --group $$group --output-file requirements/$$group.txt || exit 1; done

# --- containers; docs/docker.md tells the rest. Bake reads these from the environment.
export REGISTRY ARCH DEPLOY
export NAMESPACE ?= cordn29
export VERSION ?= $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' service_kit/__init__.py)
export REVISION ?= $(shell git rev-parse HEAD)
export COMMIT_TIME ?= $(shell git log -1 --format=%ct)
export CA_CERT ?= $(SSL_CERT_FILE)
BAKE = docker buildx bake $(if $(CA_CERT),--allow=fs.read=$(CA_CERT)) -f docker-bake.hcl

up: ## the three services in containers, with your code; docker compose watch follows edits
	docker compose up --build --detach --wait

down: ## stop them; their data stays
	docker compose down

logs: ## follow what they log
	docker compose logs --follow

docker-build-local: ## the images for this machine
	$(BAKE) local

docker-build: ## the images for ARCH=amd64 or ARCH=arm64, or for both in one index
	$(BAKE)

docker-run: ## the CRM's image, of ARCH where it is given
	$(PYTHON) docker/run_image.py

docker-push: docker-push-$(or $(STAGE),prod) ## docker-push-prod, or with STAGE=dev the other

docker-push-dev: ## all images, both architectures, to REGISTRY/NAMESPACE as <version>-dev and dev
	$(PYTHON) docker/publish.py dev

docker-push-prod: ## the same as <version> and latest, from a commit alone
	$(PYTHON) docker/publish.py prod

docker-push-deploy: ## the images for DEPLOY=lambda, eks or apprunner, in its architecture alone
	$(PYTHON) docker/publish.py deploy

test-images: .venv/for-images ## build the images and test the running stack; needs a Docker engine
	$(BIN)/python -m pytest tests/images/test_*.py --timeout=600 $(ARGS)
