# Two commands do all the set-up on a fresh machine:
#   make app    opens the app on the bundled demo pair at http://127.0.0.1:7860
#   make test   passes lint, types and tests
# LOCK=cpu or LOCK=cuda has `make app` install only files whose SHA-256 stands in requirements/$(LOCK).lock.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime-stamp
DEV     := $(VENV)/.dev-stamp

# torch's wheel differs by machine, so files are checked where somebody says which; versions are pinned everywhere.
LOCK     :=
VERSIONS := requirements/versions.txt
INSTALL  := $(PY) -m pip install --quiet
RUNTIME_PACKAGES := $(if $(LOCK),--require-hashes -r requirements/$(LOCK).lock,-r requirements.txt -c $(VERSIONS))

.PHONY: app test lint types pytest faults browser compiler lock licences audit clean

app: $(RUNTIME)
	$(PY) app.py

test: $(DEV) browser compiler lint types pytest

lint: $(DEV)
	$(VENV)/bin/ruff check .

types: $(DEV)
	$(VENV)/bin/mypy

pytest: $(DEV)
	$(PY) -m pytest -n 2 --dist loadfile

# Kills, fills, corrupts and disconnects in full numbers; ends with the table of what was reached (docs/operations.md).
# Some need root (a small file system is mounted) and say so where they are left out.
faults: $(DEV)
	FAULTS=long $(PY) -m pytest -m faults -p no:cacheprovider tests

# Chromium for the browser tests: from Debian's packages when root, otherwise the tests skip loudly (and fail when CI=true).
browser:
	@tests/ensure_chromium.sh

# The same for a C++ compiler, with which the CUDA kernels are tested where there is no GPU.
compiler:
	@tests/ensure_compiler.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(RUNTIME): requirements.txt $(VERSIONS) | $(VENV)/bin/python
	$(INSTALL) $(RUNTIME_PACKAGES)
	@touch $@

$(DEV): requirements.txt requirements-dev.txt $(VERSIONS) | $(VENV)/bin/python
	$(INSTALL) -r requirements-dev.txt -c $(VERSIONS)
	@touch $(RUNTIME) $@

# Pins of everything, from the public package index and from the folder or page that holds torch's CPU wheels.
# Twice in a row gives the same bytes; UPGRADE=1 takes the newest versions that requirements.txt allows.
TORCH_CPU := https://download.pytorch.org/whl/cpu/torch/
RESOLVE = $(VENV)/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --no-annotate \
	--default-index https://pypi.org/simple --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

lock: $(DEV)
	$(RESOLVE) requirements-dev.txt -o $(VERSIONS)
	$(RESOLVE) requirements.txt --constraints $(VERSIONS) --generate-hashes -o requirements/cuda.lock
	$(RESOLVE) requirements.txt --constraints $(VERSIONS) --generate-hashes -o requirements/cpu.lock \
		--overrides requirements/cpu.txt --find-links $(TORCH_CPU)
	$(PY) -m deploy.licences

# The licence of everything that is installed to run the app, from the packages' own metadata: docs/licences.md.
licences: $(DEV)
	$(PY) -m deploy.licences

# Known vulnerabilities of what the locks name; asks the public advisory database.
audit: $(DEV)
	$(VENV)/bin/uv tool run pip-audit@2.10.1 --strict --disable-pip --no-deps -r requirements/cuda.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
