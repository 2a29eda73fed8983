# One word per task; CI calls the same words. `make` alone lists them.

TEST := .venv-test/bin/python
PYTHONS := python3.11 python3.12 python3.13
TIMES ?= 200

.PHONY: help run test test-rust test-python test-pythons loom check format bench wheel storm leaks \
    valgrind clean env gateways

help: ## list the words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the main job: two sessions of the real gateway delegate, every result must come home
	@scripts/run $(ARGS)

test: test-rust test-python ## all tests: the core without Python, then the wheel beside the gateway

test-rust:
	cargo test --no-default-features

test-python: env gateways
	PYTHONPATH=.run/gateways/0.19.0 $(TEST) -m pytest -q tests/python/unit/test_notification.py
	HERMES_AGENT_TREES=.run/gateways HERMES_CORE_PROCESS_TIMES=$(TIMES) $(TEST) -m pytest $(ARGS)

# Later gateways, as files alone: for the batch form, and to be refused.
gateways: env
	@for version in 0.18.2 0.19.0; do \
	    test -d .run/gateways/$$version || $(TEST) -m pip install --quiet --no-deps \
	        --target .run/gateways/$$version hermes-agent==$$version; \
	done

test-pythons: ## the tests that need no gateway, on every CPython from 3.11 to 3.13 that is there
	@scripts/each-python $(PYTHONS)

loom: ## models of the queue, the hand-off and the registry, in every interleaving
	RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --target-dir target/loom --test loom

check: env ## formats, lints, types, stubs
	cargo fmt --check
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo clippy --all-targets --features python -- -D warnings
	.venv-test/bin/ruff format --check
	.venv-test/bin/ruff check
	$(TEST) -m mypy
	$(TEST) -m mypy.stubtest hermes_core._core --allowlist tests/python/typing/stubtest_allowlist.txt

format: env ## rewrite the sources in the one format
	cargo fmt
	.venv-test/bin/ruff check --fix
	.venv-test/bin/ruff format

bench: env ## the measurements, side by side with what they are compared with
	$(TEST) benches/bench.py $(ARGS)

storm: ## the process tests, ten times as often, on every CPython from 3.11 to 3.13 that is there
	@TIMES=2000 TESTS=tests/python/process scripts/each-python $(PYTHONS)

leaks: env ## everything a million times, with memory that must stay flat
	PYTHONPATH=tests/python $(TEST) -m leaks $(ARGS)

valgrind: env ## every function of the binding under memcheck
	@scripts/valgrind $(ARGS)

wheel: ## the wheel, into dist/
	scripts/python -m pip wheel . --no-deps --wheel-dir dist

env:
	@scripts/python scripts/env.py .venv-test requirements/test.txt

clean: ## remove what the other words made
	rm -rf target dist .run .venv-run .venv-test .venv-3.* .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/hermes_core/*.so
