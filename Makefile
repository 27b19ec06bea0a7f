# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv; delete it to start anew.
#
# TORCH_INDEX: an extra wheel index for torch, for example the one of a CUDA or CPU build:
#     make demo TORCH_INDEX=https://host/of/wheels

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_FLAGS := -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test test-slow check format bench docs wheel constraints clean

demo: $(STAMP)
	$(BIN)/llmkit run recipes/demo.yaml

test: $(STAMP)
	$(OFFLINE) $(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

test-slow: $(STAMP)
	$(OFFLINE) $(BIN)/python -m pytest -m slow -rs

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/stages/test_options.py tests/test_docs.py
	@echo "check: clean"

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python benchmarks/help.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/ask.py

docs: $(STAMP)
	$(BIN)/python docs/tables.py

wheel: $(STAMP)
	$(BIN)/python -m build

constraints: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/' | cat docs/constraints-head.txt - > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# torch comes first and pinned: a resolver that meets it through another package may choose a build with gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "llmkit needs Python 3.11 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) torch
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e '.[offline,dev]'
	@touch $@
