# `make demo` and `make test` do everything on a machine that has Python, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
PIP = $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

.PHONY: demo test check format lint types clean

demo: $(VENV)/.demo
	$(BIN)/python -m fastscnn.benchmarks.demo $(if $(INPUT),--input "$(INPUT)")

# One process a core, each with one thread of arithmetic: the tests are many and small.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile $(TESTS)

check: lint types test

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# The root folder is the package, whatever it is called; mypy wants to see it under its own name.
types: $(VENV)/.dev
	mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/fastscnn
	cd $(VENV)/types && ../bin/mypy --config-file ../../pyproject.toml \
		-p fastscnn.runtime -p fastscnn.model -p fastscnn.export -p fastscnn.benchmarks

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[export,cpu]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build demo *.egg-info
