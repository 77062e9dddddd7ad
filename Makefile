# make demo            the whole pipeline on this machine; PHOTOS=folder runs it on your own photographs
# make test            the everyday tests        make check   lint, format, types, import rules
# make bench           the quick form of every benchmark (minutes)   make docs    every link in the documentation resolves
# make study           what each part of the method contributes, with intervals (hours)
# make mutants         plants single faults in the core and counts those that the tests notice (hours)
#
# Everything is installed into .venv once; a second call is instant. On Linux without an NVIDIA GPU,
# TORCH_INDEX=https://download.pytorch.org/whl/cpu saves a few GB of CUDA libraries.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PHOTOS ?=
OUT ?= runs/demo
STUDY ?= runs/study
ARGS ?=
BENCHMARKS := packed_update.py grpo_step.py "sweep.py packed_update" vision_cache.py memory_estimate.py demo_rl.py \
	data_scale.py teacher_throughput.py eval_throughput.py

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# The stamp's name holds a checksum of what decides the installation, so neither time stamps nor branches confuse it.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-slow check format bench study mutants docs clean

help:
	@sed -n '1,5s/^# //p' Makefile

install: $(VENV)/.installed-$(KEY)
install-dev: $(VENV)/.installed-dev-$(KEY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch-$(KEY): | $(BIN)/python
	@echo "installing into $(VENV): about a minute, the first time only"
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) '$(TORCH)'
	@touch $@

$(VENV)/.installed-$(KEY): | $(VENV)/.torch-$(KEY)
	@$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.installed-dev-$(KEY): | $(VENV)/.torch-$(KEY)
	@$(PIP) -e '.[train,teacher,serve,dev]'
	@touch $@ $(VENV)/.installed-$(KEY)

demo: install
	$(BIN)/mirg demo --out $(OUT) $(if $(PHOTOS),--photos '$(PHOTOS)') $(ARGS)

# Python keeps the compiled tests, also if the environment says otherwise: each worker would compile all of them. Three
# workers keep two cores busy, because some tests wait for clocks and sockets.
test: install-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist worksteal -q $(ARGS)

test-slow: install-dev
	$(BIN)/pytest -q -m slow $(ARGS)

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev
	@for script in $(BENCHMARKS); do \
		echo "== $$script"; $(BIN)/python benchmarks/$$script --quick || exit 1; \
	done

study: install
	$(BIN)/python -m research.study --out $(STUDY) $(ARGS)
	$(BIN)/python -m research.study.keep $(STUDY)

mutants: install-dev
	$(BIN)/python tools/mutants.py $(ARGS)

docs: install-dev
	$(BIN)/python tools/check_links.py README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md docs src research

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src research tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
