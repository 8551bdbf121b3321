# make demo | make test | make setup | make lint | make check-slow | make fuzz
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
OUT ?= outputs/demo
PROMPT ?= an orange square bouncing on a teal dotted then black striped background
SEED ?= 17
FUZZ ?= 800
WORKERS ?= 2

.PHONY: demo test check-slow fuzz setup lint clean

setup: .venv/.done

.venv/.done: pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "streamt1 needs Python 3.10 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: setup
	$(BIN)/streamt1 generate "$(PROMPT)" --seed $(SEED) --seconds 5 --compare --fresh --out $(OUT)

test: setup lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

check-slow: setup
	$(BIN)/python -m pytest -m slow --durations=0

fuzz: setup
	$(BIN)/python -m pytest tests/fuzz --fuzz-examples $(FUZZ)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

clean:
	rm -rf .venv outputs build dist
