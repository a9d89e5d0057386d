# make demo    a fresh clone to its first answers
# make live    edits a policy and asks again
# make test    the whole test suite
PYTHON ?= python3.11
VENV   ?= .venv
DATA   := $(or $(OPENBOOK_DATA),../shared/data)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo live test quality reliability bench scale peers lint clean

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py

live: $(VENV)/.installed
	@$(BIN)/python examples/live.py

# Two processes, each with a server of its own; a file's tests stay together, in their order. The short ones come last.
# One process: make test JOBS=0.
JOBS ?= 2
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Every public-data score that openbook promises; needs OPENBOOK_DATA (default ../shared/data).
quality: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/quality -m '' -s

# The long runs: 100,000 questions against the access rules, faults everywhere, four processes, a migration.
reliability: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/reliability -m reliability -s

# Every loss and every depth of training, some minutes.
.PHONY: training
training: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/finetune -m training

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/embed.py $(DATA)/scifact --limit 2048
	$(BIN)/python benchmarks/rerank.py $(DATA)/scifact
	$(BIN)/python benchmarks/first_minute.py --data $(DATA)

# Search in 100,000 chunks (built once, in ten minutes), and how soon an edit is in another process's searches.
scale: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/filtered.py --data $(DATA)
	$(BIN)/python benchmarks/visibility.py --data $(DATA)

# What each part of a recipe gains and costs on twelve sets: the table of docs/guides/retrieval.md. Hours; one that was
# killed goes on. The table alone, from what was measured: make parts ARGS=--render.
.PHONY: parts
parts: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/parts.py --data $(DATA) $(ARGS)

# openbook beside five other libraries, each in a venv of its own in the user's cache (2.7 GB). An hour or two on two cores.
# One peer, one set, a few documents: make peers ARGS="--peers openbook --sets cranfield --limit 200".
peers: $(VENV)/.installed
	OPENBOOK_DATA=$(DATA) $(BIN)/python benchmarks/peers/run.py $(ARGS)

# Clients and servers killed at random points, each time with a look at what is left: make torture ARGS="--kills 1000 --seed 7".
.PHONY: torture
torture: $(VENV)/.installed-dev
	$(BIN)/python -m tests.reliability.crash $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)

# The model's files are fetched by the build (hatch_build.py); neither torch nor a model hub is needed to use openbook.
$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

# torch first and pinned: without a pin its dependants bring gigabytes for a GPU that is not there.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .openbook build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
