# On a machine with Python 3.11 and nothing else: `make verify` or `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: verify test lint format bench readme clean

verify: .venv/ready  ## compute every case in JAX and in torch, and compare
	$(BIN)/jaxgrad verify

test: .venv/ready  ## the whole test suite but the runs marked slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

lint: .venv/ready  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready  ## a row of each family in small; `python -m bench` for the full sizes
	$(BIN)/python -m bench --quick

readme: .venv/ready  ## write the README's table of cases
	$(BIN)/jaxgrad verify --readme README.md

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
