# On a machine with Python 3.11 and nothing else: `make verify` or `make test`.
# Another Python, with the newest JAX that it resolves and without torch: `make test PYTHON=python3.13`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# a name that only pyenv knows is looked up there
FOUND := $(shell for p in $(PYTHON) $$HOME/.pyenv/versions/$(patsubst python%,%,$(notdir $(PYTHON))).*/bin/python; do \
	"$$p" -c '' 2>/dev/null && echo "$$p" && break; done)
VERSION := $(if $(FOUND),$(shell "$(FOUND)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
PINNED := $(filter 3.11,$(VERSION))

VENV := .venv$(if $(PINNED),,-$(VERSION))
BIN := $(VENV)/bin
# from Python 3.12 on, pip's torch brings gigabytes of CUDA: `EXTRAS=dev` asks for it all the same
EXTRAS ?= $(if $(PINNED),dev,test)
CONSTRAINT := $(if $(PINNED),--constraint constraints.txt)
# for pytest, such as ARGS='-k checkpoint'
ARGS ?=
# packages come without bytecode: it is written when it is first needed, also where the shell forbids it
export PYTHONDONTWRITEBYTECODE :=

.PHONY: verify test catalogue lint style types format bench bench-check readme docs site release packages lowest install where clean

verify: $(VENV)/ready  ## compute every case in JAX and in torch, and compare
	$(BIN)/jaxgrad verify

test: $(VENV)/ready  ## the test suite but the runs marked slow, and the types that users see, which lint has
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q --ignore tests/typing $(if $(PINNED),,-m "not slow and not either_lane") $(ARGS)

catalogue: $(VENV)/ready  ## a third of the verifier's own trials: planted differences, ports, matched pairs, field pairs
	$(BIN)/python -m pytest -n 2 -q -m catalogue tests/verify $(ARGS)

lint: style types  ## format, lint, types, also those that users see; `make -j2 -O lint` on two cores

style: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

types: $(VENV)/ready
	$(BIN)/python -m pytest -q tests/typing

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready  ## some rows of each family in small; `python -m bench` for the full sizes
	$(BIN)/python -m bench --quick

bench-check: $(VENV)/ready  ## costs of every row, and what the forms of bench.scale send, against bench/results: no clock
	$(BIN)/python -m bench check

readme: $(VENV)/ready  ## write the tables of the README and docs, and the page of causes
	$(BIN)/jaxgrad verify --readme README.md
	$(BIN)/python -m bench tables --write
	$(BIN)/python -c 'from jaxgrad.verify.port.diagnosis._catalogue import page; print(page(), end="")' > docs/causes.md

docs:  ## the site, in docs/_build/html: every cell runs, and a warning or a failure stops it
	$(MAKE) site VENV=.venv-docs EXTRAS=docs

# a warning at a line of a cell is an error, one inside of another package is not
site: $(VENV)/ready
	PYTHONWARNINGS=error:::__main__ $(BIN)/python -m sphinx -W --keep-going -j 2 docs docs/_build/html

release:  ## dist/: wheel and sdist, checked, and each tried alone in an empty environment
	$(MAKE) packages VENV=.venv-release EXTRAS=release

packages: $(VENV)/ready
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/release/alone.py constraints.txt dist/*

lowest:  ## the tests that need no torch, with the oldest versions that pyproject.toml allows
	"$(FOUND)" -m venv --clear .venv-lowest
	if command -v uv; then \
		uv pip install --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[test]'; \
	else \
		"$(FOUND)" tests/release/lowest.py > .venv-lowest/pins.txt && \
		.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/pins.txt --editable '.[test]'; \
	fi
	.venv-lowest/bin/python -m pytest -n 2 --dist loadgroup -q --ignore tests/typing -m "not slow and not either_lane" $(ARGS)

install: $(VENV)/ready  ## the environment alone

where:  ## the Python that PYTHON means here, if it is there
	@echo $(FOUND)

$(VENV)/ready: pyproject.toml constraints.txt
	$(if $(FOUND),,$(error PYTHON=$(PYTHON) does not run here))
	"$(FOUND)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(CONSTRAINT) --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv .venv-* docs/_build docs/api/generated docs/cases.md dist
