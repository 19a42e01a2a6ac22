# Everything a fresh machine needs is set up here: `make demo` or `make test` alone is enough.
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test reproduce lint bench clean

demo: $(CORE)
	$(BIN)/elegans run reversal-curse

test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

reproduce: $(CORE)
	$(BIN)/elegans run --all
	$(BIN)/elegans report --markdown > RESULTS.md

lint: $(DEV)
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(DEV)
	$(BIN)/elegans bench

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(CORE): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "elegans needs Python 3.11 or newer; there is no '$(PYTHON)' (choose one with PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "elegans needs Python 3.11 or newer, $(PYTHON) is %d.%d (choose another with PYTHON=...)" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment (on Debian: apt install python3-venv)"; exit 1; }
	@echo "installing elegans into $(VENV) (once; takes a few minutes)"
	@$(PIP) -e .
	@touch $@

$(DEV): $(CORE)
	@$(PIP) -e '.[dev]'
	@touch $@
