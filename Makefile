# Two commands do all the set-up on a fresh machine:
#   make app    opens the app on the bundled demo pair at http://127.0.0.1:7860
#   make test   passes lint, types and tests
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime-stamp
DEV     := $(VENV)/.dev-stamp

.PHONY: app test lint types pytest browser clean

app: $(RUNTIME)
	$(PY) app.py

test: $(DEV) browser lint types pytest

lint: $(DEV)
	$(VENV)/bin/ruff check .

types: $(DEV)
	$(VENV)/bin/mypy

pytest: $(DEV)
	$(PY) -m pytest -n 2 --dist loadfile

# Chromium for the browser tests: from Debian's packages when root, otherwise the tests skip loudly (and fail when CI=true).
browser:
	@tests/ensure_chromium.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(RUNTIME): requirements.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet -r requirements.txt
	@touch $@

$(DEV): requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet -r requirements-dev.txt
	@touch $(RUNTIME) $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
