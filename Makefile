# Every target builds what it needs first, without root: `.venv` for the project, `.triton` for Triton's own runtime.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo up test check format protos measure bench clean

PYTHON ?= python3
UV_VERSION := 0.13.9
# uv from the PATH; where there is none, one in .tools, pinned.
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)

help:
	@echo "make demo    a day of grid intensity steering a real Triton; INTENSITY=file.csv for a real trace"
	@echo "make up      the same stack until Ctrl-C; ARGS='--database postgres' and so on"
	@echo "make test    every test, on real parts"
	@echo "make check   format, lint, types, import contracts, generated code"
	@echo "make measure profiles the digits and rewrites their catalogue; needs a quiet machine for latencies"
	@echo "make bench   costs against plain references, into bench/results/latest.json"
	@echo "make protos  generates tradewind/rpc from protos/"

demo: .venv/ready .triton/ready
	@.venv/bin/tradewind demo $(if $(INTENSITY),--intensity '$(INTENSITY)') $(ARGS)

up: .venv/ready .triton/ready
	@.venv/bin/tradewind up $(if $(INTENSITY),--intensity '$(INTENSITY)') $(ARGS)

test: .venv/ready .triton/ready
	.venv/bin/pytest -n auto --maxprocesses 4 $(ARGS)

check: .venv/ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy .
	.venv/bin/lint-imports
	.venv/bin/python protos/generate.py --check

format: .venv/ready
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

measure: .venv/ready .triton/ready
	.venv/bin/python -m demo.measure_digits $(ARGS)

protos: .venv/ready
	.venv/bin/python protos/generate.py

bench: .venv/ready .triton/ready
	.venv/bin/python -m bench $(ARGS)

clean:
	rm -rf .venv .triton .tools

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is missing or older than 3.11: install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "$(PYTHON) lacks the venv module: install it (Debian: apt install python3-venv), or put uv on the PATH" >&2; exit 1; }
	@rm -rf .tools && $(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/ready: pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	@echo "building .venv"
	@$(UV) sync --quiet --frozen
	@touch $@

.triton/ready: deploy/triton/requirements.txt deploy/triton/install.sh | .venv/ready
	@echo "building .triton"
	@UV='$(UV)' deploy/triton/install.sh .triton
	@touch $@
