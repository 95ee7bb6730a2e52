# Two commands do everything on a fresh machine with Python 3.11 (or 3.12) and make:
#   make demo    the whole circle once          make test    the tests
# TORCH_INDEX=https://download.pytorch.org/whl/cpu chooses PyTorch's public CPU index.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
TORCH ?= 2.13.0
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The constraint holds for the build environments of source packages too (whisper is one).
PIP := PIP_CONSTRAINT=requirements.lock $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := flows training evaluation serving
TORCH_FLAGS := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.PHONY: install demo test lint format bench serve lock clean
.DEFAULT_GOAL := test

install: $(STAMP)

# torch goes first and alone, so that its CUDA packages resolve where the index offers them; the rest
# comes from the lock without dependency resolution, and so without triton (1 GB that nothing here uses).
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	  || { echo "Python 3.11 or 3.12 is needed; set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_FLAGS) "torch==$(TORCH)"
	$(PIP) --no-deps -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $(SOURCES)
	@touch $@

demo: install
	@$(BIN)/voicebot demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/voicebot check-data

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only -s

serve: install
	$(BIN)/start-call --serve

# Only after a change of pyproject.toml's ranges. torch and triton are left out on purpose.
lock: install
	$(BIN)/python -m pip install --quiet uv
	printf 'triton ; sys_platform == "never"\ntorch ; sys_platform == "never"\n' > $(VENV)/overrides.txt
	$(BIN)/uv pip compile pyproject.toml --all-extras --override $(VENV)/overrides.txt \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url -o requirements.lock

clean:
	rm -rf $(VENV) var mlruns/mlflow.db mlruns/artifacts mlruns/adapter-audit* .pytest_cache .mypy_cache .ruff_cache .hypothesis
