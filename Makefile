# Two commands do everything, set-up included, on a machine with Python 3.11 or newer:
#   make demo    the main job on embedded data        make test    lint, types and all fast tests
#   make test-browser    the tests of the report in Chromium, which make test skips where there is none
#   make coverage    the fast tests again, a quarter slower, with the lines that none of them runs
# and a third one measures a search step against the textbook form, below ten minutes:
#   make bench
# The site, into docs/_build/html, with every warning an error:
#   make docs
# Installed in an environment of its own, without the extras, and tried from outside the checkout:
#   make test-core    from the checkout        make dist    the wheel and the sdist that it builds
# The oldest versions that the dependencies' bounds allow: make test-lowest
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS = 1
unexport PYTHONDONTWRITEBYTECODE  # else every process that a test starts compiles all modules anew

.PHONY: demo test test-browser bench docs check coverage test-slow test-core dist test-lowest growth second-order fuzz faults clean

demo: .venv/core
	$(BIN)/archgrad run --data digits

test: check
	$(BIN)/python tests/browser/chromium.py || true
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=8

coverage: .venv/dev
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

test-browser: .venv/dev
	$(BIN)/python tests/browser/chromium.py
	ARCHGRAD_BROWSER_REQUIRED=1 $(BIN)/python -m pytest tests/browser tests/reporting

bench: .venv/core
	$(BIN)/python benchmarks/bench.py

docs: .venv/docs
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

check: .venv/dev
	$(BIN)/ruff check src tests examples benchmarks docs
	$(BIN)/lint-imports
	$(BIN)/mypy

test-slow: .venv/dev
	$(BIN)/python -m pytest -m "slow and not gpu"

define smoke
	rm -rf .venv-core
	$(PYTHON) -m venv .venv-core
	.venv-core/bin/pip install --quiet --disable-pip-version-check -c constraints.txt $(1)
	.venv-core/bin/python tests/smoke.py
endef

test-core:
	$(call smoke,.)

dist: .venv/dev
	$(BIN)/python -m pytest -n 0 tests/packaging
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(call smoke,dist/*.whl)
	$(call smoke,dist/*.tar.gz)

test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet -c constraints-lowest.txt -e . click hatchling pytest pytest-timeout hypothesis
	.venv-lowest/bin/python -m pytest -p no:cacheprovider tests/packaging tests/test_config.py tests/test_api.py \
	  tests/test_folder.py tests/test_statistics.py tests/test_cli.py::test_damaged_files_of_a_run_are_named

growth: .venv/core
	$(BIN)/python benchmarks/growth.py

second-order: .venv/dev
	$(BIN)/python benchmarks/second_order.py

fuzz: .venv/dev
	$(BIN)/pip install --quiet --disable-pip-version-check "atheris>=3"
	$(BIN)/python benchmarks/fuzz.py

faults: .venv/core
	$(BIN)/python benchmarks/faults.py

.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'archgrad needs Python 3.11 or newer, found ' + sys.version.split()[0] + '; set PYTHON=')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/dev: .venv/core
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

.venv/docs: .venv/core
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf docs/_build .venv .venv-core .venv-lowest dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
