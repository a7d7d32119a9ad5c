# Each target sets itself up: the first one on a fresh machine makes .venv, and again when the lock file changes.
PYTHON ?= python3
WORKERS ?= 2
SECONDS ?= 60
KILLS ?= 200
SEED ?= 0

BIN := .venv/bin
READY := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
TORCH := $(shell grep '^torch==' requirements.lock)

.PHONY: help demo test check bench fuzz soak mutants
.DEFAULT_GOAL := help

help:
	@echo "make demo    a small model brought into accord with simulated annotators, offline, in minutes"
	@echo "make test    all tests ($(WORKERS) at a time; WORKERS=n changes that)"
	@echo "make check   format, lint, types, and that imports point down only"
	@echo "make bench   the measurements of docs/benchmarks.md"
	@echo "make fuzz    the reader of data against damaged files, for $(SECONDS) seconds (SECONDS=n changes that)"
	@echo "make soak    $(KILLS) runs killed at random moments, resumed, and held against themselves left alone (KILLS=n, SEED=n)"
	@echo "make mutants breaks signs, KL terms, masks, ends and pairs, one after the other, and says which test notices"
	@echo "Each sets up .venv by itself. PYTHON=... names another Python (3.11 or later) to make it from."

demo: $(READY)
	@$(OFFLINE) $(BIN)/accord demo

test: $(READY)
	@sh tests/servers.sh
	@$(OFFLINE) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(OFFLINE) $(BIN)/python -m pytest -q tests/test_floors.py

bench: $(READY)
	@$(OFFLINE) $(BIN)/python bench/run.py

fuzz: $(READY)
	@$(OFFLINE) $(BIN)/python tests/fuzz_read.py $(SECONDS)

soak: $(READY)
	@$(OFFLINE) $(BIN)/python tests/soak.py --kills $(KILLS) --seed $(SEED) --workers $(WORKERS)

mutants: $(READY)
	@$(OFFLINE) $(BIN)/python tests/mutants.py --workers $(WORKERS)

# torch comes first and alone: where a CPU build is offered beside the CUDA one, nothing else then asks for the latter.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Accord needs Python 3.11 or later: make PYTHON=...")'
	@echo "Setting up .venv (once, some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) $(TORCH)
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
