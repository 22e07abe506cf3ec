# The book in a few words: `make help`. Needs Python >= 3.11, git and make; everything else goes into .venv.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(if $(shell command -v $(name) 2>/dev/null),$(name))))
PROFILE ?= embedded
PORT ?= 8000
OPTIONS ?=
MODEL ?=
EDITION ?=
REVISION ?=
TESTS ?= tests

BIN := .venv/bin
STAMP := .venv/.installed
# Settings of a user's own pip must not change what is installed; an index or proxy that he needs is kept.
PIP := PIP_REQUIRE_VIRTUALENV=1 PIP_USER=0 PIP_TARGET= PIP_PREFIX= PIP_CONSTRAINT= PIP_NO_DEPS=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
export PYTHONPATH := $(CURDIR)
# As it was typed: neither make nor the shell reads anything into the name of a profile.
export BOOK_PROFILE := $(value PROFILE)
export BOOK_EDITION := $(value EDITION)
unexport PROFILE EDITION

.DEFAULT_GOAL := help
.PHONY: help book pdf test lint bench check serve clean install

help:  ## this list
	@echo "make book     execute the chapters and build the site      PROFILE=$$BOOK_PROFILE, OPTIONS for snakemake"
	@echo "              for others than readers                     EDITION=student or instructor"
	@echo "make pdf      print the built site as one PDF, by Chromium PROFILE=$$BOOK_PROFILE, EDITION"
	@echo "make serve    show the site on this machine                PROFILE=$$BOOK_PROFILE, PORT=$(PORT)"
	@echo "make test     run all tests                                TESTS=path, OPTIONS for pytest"
	@echo "make lint     the formatter and the linter, on lib, pipeline, tests and chapters"
	@echo "make check    is a model read rightly? the identities   MODEL=hub id or directory, REVISION, OPTIONS"
	@echo "make bench    measure speed and memory, for the book's page 'Benchmarks'"
	@echo "make install  only make .venv"
	@echo "make clean    remove runs/$$BOOK_PROFILE, and trained models   PROFILE=$$BOOK_PROFILE"
	@echo "              of runs/models that no other profile needs"
	@echo "Profiles: $(patsubst params/%.yaml,%,$(wildcard params/*.yaml))"

book: $(STAMP)
	@$(BIN)/python -m pipeline.build "$$BOOK_PROFILE" "--edition=$$BOOK_EDITION" $(OPTIONS)

pdf: $(STAMP)
	@$(BIN)/python -m pipeline.paper "$$BOOK_PROFILE" "$$BOOK_EDITION"

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup $(TESTS) $(OPTIONS)

lint: $(STAMP)
	$(BIN)/ruff format --check lib pipeline tests chapters
	$(BIN)/ruff check lib pipeline tests chapters

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(OPTIONS)

check: $(STAMP)
	@test -n "$(MODEL)" || { echo "Name a model: make check MODEL=openai-community/gpt2"; exit 1; }
	@$(BIN)/python -m lib.models.check "$(MODEL)" --revision "$(REVISION)" $(OPTIONS)

serve: $(STAMP)
	@$(BIN)/python -m pipeline.serve "$$BOOK_PROFILE" $(PORT) "$$BOOK_EDITION"

clean:
	@test -x $(BIN)/python || { echo "Nothing knows here which models other profiles need: make install, or remove runs/ by hand"; exit 1; }
	@$(BIN)/python -m pipeline.clean "$$BOOK_PROFILE"

install: $(STAMP)

# The stamp comes last, so an installation that was cut short is done again, and a complete one never.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No python found: install Python 3.11 or later, or make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: make PYTHON=/path/to/a/newer/python"; exit 1; }
	@echo "Installing into .venv under the pins of constraints.txt; this happens once and takes minutes."
	$(PYTHON) -m venv .venv
	$(PIP) install -qq -c constraints.txt -e '.[test]'
	@touch $(STAMP)
