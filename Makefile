# Two commands do everything on a fresh machine with Python 3.11 (or 3.12) and make:
#   make demo    the whole circle once          make test    the tests
# TORCH_INDEX=https://download.pytorch.org/whl/cpu chooses PyTorch's public CPU index.
# PYTHON and TORCH choose other versions. An environment keeps its Python until another PYTHON is named; TORCH
# holds for one command, so export it to keep another version.

VENV ?= .venv
BIN := $(VENV)/bin
ANY_PYTHON := command -v python3.11 || command -v python3.12 || command -v python3
PYTHON ?= $(shell test -x $(BIN)/python && echo $(BIN)/python || $(ANY_PYTHON))
TORCH ?= 2.13.0
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
PYTHON_VERSION := $(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
STAMP := $(VENV)/.installed-python$(PYTHON_VERSION)-torch$(TORCH)
# The constraint holds for the build environments of source packages too (whisper is one).
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED_PIP := PIP_CONSTRAINT=requirements.lock $(PIP)
SOURCES := flows training evaluation serving
# An index of PyTorch's own has torch's dependencies in a few versions, seldom the locked ones; the lock's
# line below puts those in their place afterwards.
TORCH_PIP := $(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX),$(LOCKED_PIP))

.PHONY: install demo test search lint format bench soak serve lock clean distclean
.DEFAULT_GOAL := test

install: $(STAMP)

# torch goes first and alone, so that its CUDA packages resolve where the index offers them; the rest
# comes from the lock without dependency resolution, and so without triton (1 GB that nothing here uses).
$(STAMP): requirements.lock pyproject.toml
	@case "$(PYTHON_VERSION)" in 3.11|3.12) ;; \
	  *) echo "Python 3.11 or 3.12 is needed; set PYTHON=…"; exit 1;; esac
	@test "$$($(BIN)/python -c '$(VERSION)' 2>/dev/null)" = "$(PYTHON_VERSION)" || { \
	  test ! -e $(VENV) || test -f $(VENV)/pyvenv.cfg \
	    || { echo "$(VENV) is there and is no virtual environment; name another VENV=…"; exit 1; }; \
	  echo "$(PYTHON) -m venv --clear $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@rm -f $(VENV)/.installed*
	$(TORCH_PIP) "torch==$(TORCH)"
	$(LOCKED_PIP) --no-deps -r requirements.lock
	$(LOCKED_PIP) --no-deps --no-build-isolation -e .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $(SOURCES)
	@touch $@

demo: install
	@$(BIN)/voicebot demo

# WORKERS=0 runs them all in one process.
test: install
	$(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadscope --no-loadscope-reorder

# The same properties on many random examples (make test draws the same ones in every run).
search: install
	PROPERTY_TIMES=$(or $(TIMES),20) $(BIN)/python -m pytest -m hypothesis

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/voicebot check-data
	$(BIN)/python -m pytest -q tests/test_house.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only -s
	$(BIN)/python -m tests.benchmarks.cache.embedder
	$(BIN)/python -m tests.benchmarks.cache.peers
	$(BIN)/python -m tests.benchmarks.cache.size
	$(BIN)/python -m tests.benchmarks.cache.crashes --runs 500
	$(BIN)/python -m tests.benchmarks.cache.sharing
	$(BIN)/python -m tests.benchmarks.live.barge_in
	$(BIN)/python -m tests.benchmarks.live.compare

# Fifty busy lines for ten minutes: memory, calls that do not end, records.
soak: install
	$(BIN)/python -m tests.benchmarks.live.soak --minutes 10

serve: install
	$(BIN)/start-call --serve

# Only after a change of pyproject.toml's ranges. torch and triton are left out on purpose; what torch needs
# besides is named, because nothing else asks for it.
lock: install
	$(BIN)/python -m pip install --quiet uv
	printf 'triton ; sys_platform == "never"\ntorch ; sys_platform == "never"\n' > $(VENV)/overrides.txt
	printf 'mpmath\nnetworkx\nsympy\n' > $(VENV)/torch-needs.in
	$(BIN)/uv pip compile pyproject.toml $(VENV)/torch-needs.in --all-extras --override $(VENV)/overrides.txt \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache

# Call records, recordings, the key that makes callers' hashes, adapters and their audit: gone for good.
distclean:
	@test "$(CONFIRM)" = yes || { \
	  echo "This removes var (call records, recordings, pii.key) and mlruns (adapters, audit): CONFIRM=yes"; \
	  exit 1; }
	$(MAKE) clean
	rm -rf var mlruns/mlflow.db* mlruns/artifacts mlruns/adapter-audit*
