# Two commands for a newcomer: make demo, make test. Everything happens in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.PHONY: help setup demo test test-all browser check types-tensorrt bench docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## the environment in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo]'
	touch $(READY)

demo: $(READY) ## export, verify and run the mini model; pictures land in demo/
	$(BIN)/edgedepth demo --out demo

test: $(READY) ## the default suite
	$(PYTEST) -m 'not slow and not gpu'

test-all: $(READY) ## with the full-size runs: half an hour more, 16 GB of memory, 10 GB of disk
	$(BIN)/pytest -m 'not gpu' --timeout 3600

browser: ## Chromium, in which the reports' tests look at pages; Debian's, else name one in EDGEDEPTH_CHROMIUM
	command -v chromium || command -v google-chrome || test -x "$$EDGEDEPTH_CHROMIUM" || \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; }

check: $(READY) ## formatting, lint, types, import directions, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make_reference.py --check

types-tensorrt: $(READY) ## the TensorRT adapter against NVIDIA's API, as its stubs tell it
	$(BIN)/python .ci/tensorrt_types.py

docs: $(READY) ## write docs/reference from docstrings and --help
	$(BIN)/python docs/make_reference.py

bench: $(READY) ## full-size latency and memory on this machine, beside transformers' model
	$(BIN)/python benchmarks/cpu_full.py

clean: ## what the other targets made
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
