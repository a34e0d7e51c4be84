PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= -c constraints.txt
PYTHON_TAG ?= 3.12
DEMO_ARGS ?=
BENCH_ARGS ?=
MUTANTS_ARGS ?=
BIN = $(VENV)/bin
WORDS = zoo envs wrappers scripts tests docs README.md CONTRIBUTING.md CHANGELOG.md

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow mutants bench-replay bench-update bench-dream bench-planner gpu-wheels types lint format docs docs-check linkcheck clean

help: ## list the targets and the variables
	@sed -n 's/^\([a-z -]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		awk -F '|' '{printf "make %-37s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=python3.12, VENV=.venv, CONSTRAINTS= (newest versions), DEMO_ARGS, BENCH_ARGS, MUTANTS_ARGS, PYTHON_TAG=3.12"

# System packages are looked for before anything is downloaded. The stamp comes last, so that an
# interrupted setup is taken up again. Rendering is tried, because its drivers cannot be looked up.
# ProcGen (dreamzoo.envs.procgen.INSTALL) is not built for every Python, minerl is a large download;
# without them their tests are skipped.
setup: $(VENV)/.done ## make the virtual environment, with all that users and tests need

$(VENV)/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c "$$CHECK_SYSTEM"
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install "pip>=23"
	$(BIN)/python -m pip install $(CONSTRAINTS) -e ".[dev]"
	-$(BIN)/python -m pip install "cffi<2" filelock && $(BIN)/python -m pip install --no-deps procgen2 gym3
	-$(BIN)/dreamzoo install-minerl
	@$(BIN)/python -c "$$CHECK_RENDERING"
	@touch $@

demo: setup ## train a small agent in a few minutes and watch it dream (DEMO_ARGS=--help)
	$(BIN)/python scripts/demo.py $(DEMO_ARGS)

# Every check runs, whatever the others find.
test: setup ## all checks: lint, spelling, format, types, documentation, fast tests
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed lint"; \
	$(BIN)/codespell $(WORDS) || failed="$$failed spelling"; \
	$(BIN)/ruff format --check . || failed="$$failed format"; \
	$(MAKE) --no-print-directory types || failed="$$failed types"; \
	$(MAKE) --no-print-directory docs-check || failed="$$failed docs"; \
	$(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile || failed="$$failed tests"; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi; \
	echo "All checks passed."

test-slow: setup ## the tests that train agents (long)
	$(BIN)/pytest -m "slow or learning"

mutants: setup ## plant mistakes one at a time, count those that tests notice (hours; MUTANTS_ARGS=--help)
	PYTHONPATH=. $(BIN)/python -m tests.mutants --whole $(MUTANTS_ARGS)

bench-replay bench-update bench-dream bench-planner: setup ## measure replay, updates, dreams, plans (BENCH_ARGS=--help)
	$(BIN)/dreamzoo $(subst -, ,$@) $(BENCH_ARGS)

# One of them exists as source only. No GPU machine lacks torch, and none is asked for here.
gpu-wheels: ## collect what a GPU machine without a network may lack, in build/wheels
	$(PYTHON) -m pip download --no-deps --only-binary :all: --python-version $(PYTHON_TAG) \
		--dest build/wheels $(CONSTRAINTS) stable-baselines3 gymnasium farama-notifications \
		cloudpickle sheeprl==0.8.4 hydra-core==1.3.2 omegaconf==2.3.0 python-dotenv
	$(PYTHON) -m pip wheel --no-deps --wheel-dir build/wheels antlr4-python3-runtime==4.9.3

# mypy finds neither the package of an editable install nor the renamed folders. A tree of links
# shows them under their names of import.
types: setup ## check types
	@rm -rf build/typing && mkdir -p build/typing/dreamzoo
	@cd build/typing/dreamzoo && ln -s ../../../zoo/* ../../../wrappers ../../../envs .
	$(BIN)/mypy

lint: setup ## check style and spelling
	$(BIN)/ruff check .
	$(BIN)/codespell $(WORDS)
	$(BIN)/ruff format --check .

format: setup ## repair style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tutorials run, unless build/tutorials has them as they are.
docs: setup ## build the documentation in build/docs (minutes: the tutorials run)
	$(BIN)/sphinx-build -W --keep-going docs build/docs

docs-check: setup ## build the documentation without running the tutorials
	$(BIN)/sphinx-build -q -W --keep-going -D nb_execution_mode=off docs build/docs-check

linkcheck: setup ## look up every link of the documentation (needs a network)
	$(BIN)/sphinx-build -q -b linkcheck -D nb_execution_mode=off docs build/linkcheck

clean: ## remove the virtual environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find zoo wrappers envs scripts tests -name __pycache__ -prune -exec rm -rf {} +

define CHECK_SYSTEM
import ctypes, sys
if sys.version_info < (3, 10):
    sys.exit("dreamzoo needs Python 3.10 or newer, this is %d.%d. Choose one: make setup PYTHON=python3.11" % sys.version_info[:2])
missing = []
try:
    import ensurepip, venv
except ImportError:
    missing.append("python3-venv")
for library, package in [("libEGL.so.1", "libegl1"), ("libGL.so.1", "libgl1 libgl1-mesa-dri")]:
    try:
        sys.platform == "linux" and ctypes.CDLL(library)
    except OSError:
        missing.append(package)
if missing:
    sys.exit("System packages are missing. On Debian or Ubuntu: sudo apt-get install -y " + " ".join(missing))
endef
export CHECK_SYSTEM

define CHECK_RENDERING
import sys
from dreamzoo.envs import make_dmc
try:
    make_dmc("cartpole", "balance", pixels=True)
except Exception as error:
    print("Rendering does not work: %r" % error, file=sys.stderr)
    sys.exit("On Debian or Ubuntu: sudo apt-get install -y libegl1 libgl1 libgl1-mesa-dri")
endef
export CHECK_RENDERING
