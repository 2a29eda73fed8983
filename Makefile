# One word per task; CI calls the same words. `make` alone lists them.

TEST := .venv-test/bin/python
PYTHONS := python3.11 python3.12 python3.13
TIMES ?= 200
SECONDS ?= 60
CASES ?= 20000
COUNT ?= 1000000
# What is compared with a later gateway, too: the shapes that 0.17.0 does not have.
LATER := $(addprefix tests/python/differential/test_,batches.py deliveries.py failure_classes.py registry.py)
# What is about the claims that 0.19.0 has.
CLAIMS := $(wildcard tests/python/gateway/test_claims*.py)

.PHONY: help run test test-rust test-python test-pythons differential loom loom-long proptest-long fuzz \
    check format bench instructions instructions-record wheel storm leaks crash soak valgrind clean env \
    gateways

help: ## list the words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the main job: users of the real gateway delegate (HERMES=0.17.0: another), every result must come home
	@scripts/run $(ARGS)

test: test-rust test-python ## all tests: the core without Python, then the wheel beside the gateway

test-rust:
	cargo test --no-default-features

test-python: env gateways
	PYTHONPATH=.run/gateways/0.19.0 $(TEST) -m pytest -q tests/python/unit/test_notification.py \
	    $(LATER) $(CLAIMS)
	HERMES_AGENT_TREES=.run/gateways HERMES_CORE_PROCESS_TIMES=$(TIMES) $(TEST) -m pytest $(ARGS)

# Later gateways, each with what it depends on in a folder of its own.
gateways: env
	@for version in 0.18.2 0.19.0; do \
	    new=.run/gateways/$$version.new; \
	    test -d .run/gateways/$$version && continue; \
	    echo "installing hermes-agent==$$version ..." && rm -rf $$new && \
	    $(TEST) -m pip install --quiet --target $$new hermes-agent==$$version && \
	    mv $$new .run/gateways/$$version || exit 1; \
	done

test-pythons: ## the tests that need no gateway, on every CPython from 3.11 to 3.13 that is there
	@HERMES_CORE_PROCESS_TIMES=$${TIMES:-40} scripts/each-python $(PYTHONS) -- \
	    -m pytest -q tests/python/unit tests/python/process tests/python/leaks \
	    tests/python/differential/test_queue.py

differential: env gateways ## generated events, operations and gateways through theirs and ours, at length
	HERMES_CORE_EXAMPLES=long $(TEST) -m pytest -q tests/python/differential $(ARGS)
	PYTHONPATH=.run/gateways/0.19.0 HERMES_CORE_EXAMPLES=long $(TEST) -m pytest -q $(LATER) $(ARGS)
	HERMES_CORE_EXAMPLES=long $(TEST) -m pytest -q tests/python/gateway/test_unseen.py $(ARGS)

loom: ## models of the core, in every interleaving with up to three forced switches
	RUSTFLAGS="--cfg loom" cargo test --profile loom --no-default-features --target-dir target/loom --test loom

loom-long: ## the same with up to five forced switches
	LOOM_MAX_PREEMPTIONS=5 $(MAKE) loom

proptest-long: ## the property tests, fifty times as long
	PROPTEST_CASES=$(CASES) cargo test --no-default-features --test core

fuzz: ## each fuzz target for SECONDS, 60 unless told
	scripts/fuzz $(SECONDS)

check: env ## formats, lints, imports, types, stubs
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo clippy --all-targets --features python -- -D warnings
	.venv-test/bin/ruff format --check
	.venv-test/bin/ruff check
	$(TEST) tests/python/unit/layout.py
	$(TEST) -m mypy
	$(TEST) -m mypy.stubtest hermes_core._core --allowlist tests/python/typing/stubtest_allowlist.txt

format: env ## rewrite the sources in the one format
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml
	.venv-test/bin/ruff check --fix
	.venv-test/bin/ruff format

bench: env gateways ## the measurements, side by side with what they are compared with, on every CPython there
	@scripts/each-python $(PYTHONS) -- -c ''
	PYTHONPATH=benches $(TEST) -m measure --also .venv-3.*/bin/python $(ARGS)

instructions: env ## the hot paths' instruction counts, compared with the recorded ones
	PYTHONPATH=benches $(TEST) -m instructions

instructions-record: env ## record them anew
	PYTHONPATH=benches $(TEST) -m instructions --record

storm: ## the process tests, ten times as often, on every CPython from 3.11 to 3.13 that is there
	@HERMES_CORE_PROCESS_TIMES=2000 scripts/each-python $(PYTHONS) -- -m pytest -q tests/python/process

leaks: env ## everything a million times, with memory that must stay flat
	PYTHONPATH=tests/python $(TEST) -m leaks $(ARGS)

crash: env ## processes killed at any moment and at every named step, TIMES in all; nothing may be lost
	@scripts/crash --times $(TIMES) $(ARGS)

soak: env ## a million delegations through the ledger (COUNT); memory and the file must stay flat
	PYTHONPATH=tests/python $(TEST) -m leaks.soak --count $(COUNT)

valgrind: env ## every function of the binding under memcheck
	@scripts/valgrind $(ARGS)

wheel: ## the wheel, into dist/
	scripts/python -m pip wheel . --no-deps --wheel-dir dist

env:
	@scripts/python scripts/env.py .venv-test requirements/test.txt

clean: ## remove what the other words made
	rm -rf target dist .run .venv-run* .venv-test .venv-3.* .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/hermes_core/*.so
