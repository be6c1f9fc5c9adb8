# make chat   talk with the model that ships (sets up what that takes the first time)
# make torch  PyTorch into the same environment, for training, export and GPUs
# make test   run the test suite            (sets everything up the first time)
# make check  lint, format, types
#
# PYTHON  the interpreter to set up with      VENV   where the environment goes
# TORCH   what pip installs as PyTorch, options included; nothing else chooses a build

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet

.PHONY: chat torch test check format smoke clean
.DEFAULT_GOAL := chat

chat: $(VENV)/.chat
	@$(VENV)/bin/dialogpt chat

torch: $(VENV)/.torch $(VENV)/.chat

test: $(VENV)/.test
	@echo "== running the test suite"
	@$(VENV)/bin/python -m pytest

check: $(VENV)/.test
	@echo "== lint, format, types"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/.test
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

smoke: $(VENV)/.torch $(VENV)/.chat
	@DIALOGPT=$(VENV)/bin/dialogpt recipes/smoke.sh

clean:
	rm -rf $(VENV)

# Each stamp is newer than pyproject.toml when the environment is up to date.
$(VENV)/.made:
	@echo "== making the environment in $(VENV)"
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}; try make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.made
	@echo "== installing $(TORCH) (the largest part, once)"
	@$(PIP) $(TORCH)
	@touch $@

# Without torch where the native engine was built, which takes a C++ compiler.
$(VENV)/.chat: $(VENV)/.made pyproject.toml hatch_build.py $(wildcard src/dialogpt/native/csrc/*)
	@echo "== installing dialogpt"
	@$(PIP) --editable .
	@$(VENV)/bin/python -c 'from dialogpt.decoding.loading import native_engine; from dialogpt.hub import BUNDLED; native_engine(BUNDLED) or exit(1)' \
		|| { echo "== the native engine was not built: PyTorch takes its place"; $(MAKE) --no-print-directory $(VENV)/.torch; }
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(VENV)/.chat
	@echo "== installing what the tests and checks need"
	@$(PIP) --editable ".[test,check]"
	@touch $@
