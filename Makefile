# `make demo` and `make test` do everything on a machine that has Python, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
COMPILED := $(wildcard runtime/decode/native/*.[ch])
# Modules are compiled when they are imported first: most never are, and all of them take a minute. That must be kept, though,
# also where an image for containers forbids it, or hundreds of processes compile each module anew.
export PYTHONDONTWRITEBYTECODE :=
PIP = $(BIN)/python -m pip --disable-pip-version-check install --no-compile --constraint constraints.txt

.PHONY: demo test test-ros check format lint types audit docs pictures dist triton fuzz faults soak others parsers touched sbom clean
.PHONY: test-floor test-newest test-robot test-machines arm64 arm64-labels environments

# Interpreters and packages of the oldest and the newest machine; name others with make test-floor OLDEST=…
OLDEST ?= $(shell $(PYTHON) tests/support/pythons.py 3.10)
NEWEST ?= $(shell $(PYTHON) tests/support/pythons.py 3.13)
ROBOT ?= $(VENV)/robot-tests/bin/python
# What differs between machines above all: each command, engines, files that break off, signals.
TELLING := tests/machines tests/runtime/test_segmenter.py tests/runtime/test_limits.py tests/runtime/media/test_containers.py \
	tests/runtime/commands/test_signals.py
WITHOUT_TORCH = -m pytest -p no:cacheprovider --numprocesses auto --dist loadfile -m 'not torch' $(or $(TESTS),tests/runtime tests/machines)

demo: $(VENV)/.demo
	$(BIN)/python -m fastscnn.benchmarks.demo $(if $(INPUT),--input "$(INPUT)")

# One process a core and one more, since many tests wait for others; each with one thread of arithmetic. Kills and full disks
# are in `make faults`, each command on other machines in `make test-machines`.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(or $(TESTS),--ignore tests/faults --ignore tests/machines)

# The node, bags and fleets beside the real ROS 2 and Ray, in an environment of their own.
test-ros: $(VENV)/.dev
	$(BIN)/python tests/ros/run.py $(VENV)/ros $(TESTS)

check: lint types test faults test-ros docs audit

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

# The machines that are promised, beside the one of CI; benchmarks/results/machines.md holds what they gave.
# The lowest version of every direct dependency, on the oldest Python.
test-floor: $(VENV)/.floor $(VENV)/.floor-convert
	OMP_NUM_THREADS=1 $(VENV)/floor/bin/python $(WITHOUT_TORCH)
	OMP_NUM_THREADS=1 $(VENV)/floor-convert/bin/python -m pytest -p no:cacheprovider -m 'not torch' tests/machines

# The newest of all, on the newest Python that they have.
test-newest: $(VENV)/.newest
	OMP_NUM_THREADS=1 $(VENV)/newest/bin/python $(WITHOUT_TORCH)

# What needs no PyTorch, anywhere: on a board with the system's packages, make test-robot ROBOT=python3.
test-robot: $(if $(filter $(VENV)/%,$(ROBOT)),$(VENV)/.robot-tests)
	OMP_NUM_THREADS=1 $(ROBOT) $(WITHOUT_TORCH)

# ARM64 by emulation: the robot's install, the doctor, labels beside this machine's, and the tests that need no PyTorch.
arm64: $(VENV)/.dev
	$(BIN)/python tests/support/arm64.py $(or $(TESTS),tests/runtime tests/machines)

# Of test-floor and test-newest. Each builds the decode in place, so none is made while tests run.
environments: $(VENV)/.floor $(VENV)/.floor-convert $(VENV)/.newest

# What CI has time for, of all three: ARM64's labels alone. A line with MAKE is run by a dry run, too: nothing else stands there.
test-machines: $(VENV)/.dev
	$(MAKE) --jobs 2 --output-sync=target arm64-labels test-floor test-newest TESTS="$(TELLING)"

arm64-labels: $(VENV)/.dev
	$(BIN)/python tests/support/arm64.py

# Known vulnerabilities of what constraints.txt pins; says so and passes where no service answers.
audit: $(VENV)/.tools
	$(VENV)/tools/bin/python tests/audit.py $(VENV)/tools/bin/pip-audit

# The site, in site/; a broken link or an unknown name ends it.
docs: $(VENV)/.docs
	mkdir -p $(VENV)/docs-source/fastscnn
	for part in __init__.py version.py commands.py runtime model export benchmarks; do \
		ln -sfn ../../../$$part $(VENV)/docs-source/fastscnn/$$part; done
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict

# The pictures of README and docs; of the clip that INPUT names, or of a drawn street.
pictures: $(VENV)/.dev
	$(BIN)/python -m fastscnn.benchmarks.pictures $(if $(INPUT),--clip "$(INPUT)")

# Wheel and source, checked, installed where there is nothing, and tried there.
dist: $(VENV)/.tools
	rm -rf dist
	$(VENV)/tools/bin/python -m build --outdir dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	$(VENV)/tools/bin/twine check --strict dist/*
	$(VENV)/tools/bin/check-wheel-contents dist/*.whl
	tests/dist.sh $(PYTHON) dist

# examples/triton in the real server, which nvidia-pytriton carries; it wants NumPy 1.
triton: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)/triton
	$(VENV)/triton/bin/python -m pip --disable-pip-version-check install --quiet \
		'nvidia-pytriton>=0.7,<1' 'numpy<2' 'opencv-python>=4.8,<5' 'onnxruntime>=1.17,<2' .
	$(BIN)/python -m pytest tests/examples/test_triton.py

# The long versions of what CI runs for seconds; benchmarks/results/reliability.md holds what they found.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/run.py --cases 12000

faults: $(VENV)/.dev
	FASTSCNN_KILLS=$(or $(KILLS),20) $(BIN)/python -m pytest tests/faults -s

# One pool of memory: glibc otherwise keeps up to eight a core, which fill for an hour and hide what leaks.
soak: $(VENV)/.dev
	MALLOC_ARENA_MAX=1 nice -n 19 $(BIN)/python -m fastscnn.benchmarks.soak --minutes $(or $(MINUTES),60)

# Software of others that tests use where it is there: tools that change ONNX files, and the parsers that tell most.
others: $(VENV)/.dev
	$(BIN)/python -m fastscnn.benchmarks.tools --install
	$(BIN)/python -m fastscnn.benchmarks.parsers --install --parsers opencv-python-headless-4.8.0.76 \
		opencv-python-headless-5.0.0.93 tract-0.23.9 ncnn-1.0.20261020

# All parsers, and all tools on all kinds of files; benchmarks/results/parsers.md and touched.md hold what they found.
parsers: $(VENV)/.dev
	$(BIN)/python -m fastscnn.benchmarks.parsers

touched: $(VENV)/.dev
	$(BIN)/python -m fastscnn.benchmarks.tools

# What a robot's install consists of, as CycloneDX.
sbom: $(VENV)/.tools
	$(PYTHON) -m venv --clear $(VENV)/robot
	$(VENV)/robot/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt '.[cpu]'
	$(VENV)/tools/bin/cyclonedx-py environment $(VENV)/robot/bin/python --pyproject pyproject.toml --output-reproducible \
		-o sbom.cdx.json

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	$(PIP) --editable '.[export,cpu]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.demo

# What a robot runs, and what converts files, whose floor for ONNX Runtime is higher.
$(VENV)/.floor: EXTRAS = cpu openvino test
$(VENV)/.floor-convert: EXTRAS = cpu convert openvino test
comma := ,
space := $(subst ,, )
$(VENV)/.floor $(VENV)/.floor-convert: $(VENV)/.%: pyproject.toml tests/support/floor.py $(COMPILED)
	$(or $(OLDEST),$(error no Python 3.10 on this machine; name one: make $@ OLDEST=…)) -m venv --clear $(VENV)/$*
	$(VENV)/$*/bin/python tests/support/floor.py $(EXTRAS) > $(VENV)/$*.txt
	$(VENV)/$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint $(VENV)/$*.txt \
		--editable '.[$(subst $(space),$(comma),$(EXTRAS))]'
	touch $@

$(VENV)/.newest: pyproject.toml $(COMPILED)
	$(or $(NEWEST),$(error no Python 3.13 on this machine; name one: make $@ NEWEST=…)) -m venv --clear $(VENV)/newest
	$(VENV)/newest/bin/python -m pip --disable-pip-version-check install --quiet --upgrade --editable '.[cpu,convert,openvino,test]'
	touch $@

$(VENV)/.robot-tests: pyproject.toml $(COMPILED)
	$(PYTHON) -m venv $(VENV)/robot-tests
	$(VENV)/robot-tests/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[cpu,test]'
	touch $@

$(VENV)/.tools: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip --disable-pip-version-check install --quiet 'pip-audit>=2.7,<3' 'cyclonedx-bom>=5,<8' \
		'build>=1.2,<2' 'twine>=6,<8' 'check-wheel-contents>=0.6,<1'
	touch $@

$(VENV)/.docs: docs/requirements.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/python -m pip --disable-pip-version-check install --quiet --requirement docs/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build demo dist site sbom.cdx.json *.egg-info
