# Each target does its own set-up: `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
MINUTES ?= 10
# Four for two processors: tests of real servers wait half of their time, and whoever is done takes tests from others.
PYTEST_ARGS ?= -n 4 --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
# Containers often set it. The tests start a thousand programs; each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled

.PHONY: help demo test thorough same-trace oracle soak bench bench-quick bench-micro bench-guard lint types ci format clean

help:
	@echo 'make demo    three servers, a client, the leader killed: what is left?'
	@echo 'make test    the tests; PYTEST_ARGS="tests/core -x" for some of them'
	@echo 'make thorough   more of the same: seeds of the day, and what takes many seconds'
	@echo 'make oracle  10,000 random sequences of commands, compared with a real redis-server'
	@echo 'make soak    real servers for MINUTES=10: does anything grow? then seed after seed until stopped (SEED=N to begin'
	@echo '             with a certain one); SOAK=real or SOAK=seeds for one of the two'
	@echo 'make bench   all benchmarks: beside etcd, Redis and PySyncObj, failover, memory, sizes (BENCH_ARGS="--only compare")'
	@echo 'make bench-quick   the ones that matter most, in about five minutes'
	@echo 'make bench-micro   what the parts cost one by one: instructions (with valgrind) and CPU time'
	@echo 'make bench-guard   has the way of a command become dearer? (BENCH_ARGS=--update makes a new baseline)'
	@echo 'make same-trace   do the same seeds give the same traces on every Python of this machine?'
	@echo 'make lint    ruff, rules and format'
	@echo 'make types   mypy --strict'
	@echo 'make ci      what .ci/run does: lint, types, tests with coverage, demo'
	@echo 'make format  let ruff format the code'
	@echo 'make clean   remove .venv and every cache'

demo: $(STAMP)
	$(BIN)/raftline demo

test: $(COMPILED)
	@bash scripts/install-redis-tools
	$(BIN)/python -m pytest $(PYTEST_ARGS)

thorough: $(COMPILED)
	@bash scripts/install-redis-tools
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m thorough

# pytest compiles tests for itself: once here, instead of in each of its processes at the same time.
$(COMPILED): $(STAMP)
	@$(BIN)/python -m pytest --collect-only -qq > $(COMPILED) || true

same-trace: $(STAMP)
	$(BIN)/python scripts/same_trace.py

oracle: $(STAMP)
	@bash scripts/install-redis-tools
	ORACLE_SEQUENCES=5000 $(BIN)/python -m pytest --timeout 0 tests/kv/commands/test_values_against_redis.py

soak: $(STAMP)
ifneq ($(SOAK),seeds)
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)
endif
ifneq ($(SOAK),real)
	@bash scripts/soak $(BIN)/raftline $(SEED)
endif

bench: $(STAMP)
	$(BIN)/python -m benchmarks.all $(BENCH_ARGS)

bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks.all --quick $(BENCH_ARGS)

bench-micro: $(STAMP)
	$(BIN)/python -m benchmarks.micro $(BENCH_ARGS)

bench-guard: $(STAMP)
	$(BIN)/python -m benchmarks.guard $(BENCH_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .

ci:
	bash .ci/run

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov build dist src/*.egg-info

$(STAMP): requirements/lock.txt pyproject.toml
	@bash scripts/make-venv '$(PYTHON)' '$(VENV)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
