# Two commands for a newcomer: make demo, make test. Everything happens in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.PHONY: help setup demo test test-all browser check types-tensorrt bench reliability docs clean

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

reliability: $(READY) ## soak, kills, flipped bytes, fuzzing, and the page of it: hours; stopped, it goes on
	test -d reliability/onnx || $(BIN)/edgedepth export --model depth-pro-mini --target onnx --out reliability/onnx
	test -d reliability/openvino || $(BIN)/edgedepth export --model depth-pro-mini --target openvino --out reliability/openvino
	test -d reliability/flipped || cp -r reliability/onnx reliability/flipped
	$(BIN)/python benchmarks/kills.py
	$(BIN)/python -m tests.untrusted.flips reliability/flipped --out docs/measurements/flips.json
	$(BIN)/python -m pip install --quiet -c constraints.txt atheris
	$(BIN)/python -m tests.untrusted.fuzz_all --seconds 600 --out docs/measurements/fuzz.json
	$(BIN)/python benchmarks/soak.py --journal reliability/soak --together \
		--bundle onnx=reliability/onnx --bundle openvino=reliability/openvino
	$(BIN)/python benchmarks/reliability.py

clean: ## what the other targets made
	rm -rf $(VENV) demo reliability build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
