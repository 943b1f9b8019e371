# `make demo` and `make test` do everything on a machine that has Python, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
PIP = $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

.PHONY: demo test check format lint types audit fuzz faults soak sbom clean

demo: $(VENV)/.demo
	$(BIN)/python -m fastscnn.benchmarks.demo $(if $(INPUT),--input "$(INPUT)")

# One process a core, each with one thread of arithmetic: the tests are many and small.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile $(TESTS)

check: lint types test audit

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache --no-logo

# The root folder is the package, whatever it is called; mypy wants to see it under its own name.
types: $(VENV)/.dev
	mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/fastscnn
	cd $(VENV)/types && ../bin/mypy --config-file ../../pyproject.toml \
		-p fastscnn.runtime -p fastscnn.model -p fastscnn.export -p fastscnn.benchmarks

# Known vulnerabilities of what constraints.txt pins; says so and passes where no service answers.
audit: $(VENV)/.tools
	$(VENV)/tools/bin/python tests/audit.py $(VENV)/tools/bin/pip-audit

# The long versions of what CI runs for seconds; benchmarks/results/reliability.md holds what they found.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/run.py --cases 12000

faults: $(VENV)/.dev
	FASTSCNN_KILLS=20 $(BIN)/python -m pytest tests/faults -s

# One pool of memory: glibc otherwise keeps up to eight a core, which fill for an hour and hide what leaks.
soak: $(VENV)/.dev
	MALLOC_ARENA_MAX=1 nice -n 19 $(BIN)/python -m fastscnn.benchmarks.soak --minutes $(or $(MINUTES),60)

# What a robot's install consists of, as CycloneDX.
sbom: $(VENV)/.tools
	$(PYTHON) -m venv --clear $(VENV)/robot
	$(VENV)/robot/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt '.[cpu]'
	$(VENV)/tools/bin/cyclonedx-py environment $(VENV)/robot/bin/python --pyproject pyproject.toml --output-reproducible \
		-o sbom.cdx.json

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[export,cpu]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.demo

$(VENV)/.tools: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip --disable-pip-version-check install --quiet 'pip-audit>=2.7,<3' 'cyclonedx-bom>=5,<8'
	touch $@

clean:
	rm -rf $(VENV) build demo sbom.cdx.json *.egg-info
