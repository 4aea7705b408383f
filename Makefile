# make lab      set up everything and open the course
# make test     set up everything, then lint, types, unit tests and every notebook
# make soak     the tests that take minutes by their nature: many kills, a minute without a database
# make check    lint, types, fast tests, notebook skeleton: about a minute
# make serve    fit a model to MovieLens when there is none, and answer over HTTP with a page: http://127.0.0.1:8000/
# make course   run all notebooks headless: build/course/ gets copies, HTML and the leaderboard
# make room     check this machine for a class, the tour included, and write its line (SEAT=12); COLLECT=FOLDER
#               reads the lines of many into a table
# make stick    a folder that holds wheels, weights and the course for a room without a network; STICK=FOLDER uses it
# make site     the course as web pages in build/site/, from the outputs that the notebooks hold
# make slides   one deck a lesson in build/slides/, with notes for the speaker
# make translation EDITION=zh  check the catalogues of an edition and write it: notebooks/zh/, README.zh.md; then make site EDITION=zh
# make tables   make one row of every committed table again and compare it
# make machine  how this machine compares with the reference machine of all budgets, in a minute
# make figures  make every table, notebook and row of the leaderboard again: many hours; continues where it was stopped
# make notebooks  re-execute the notebooks in place (NOTEBOOKS=notebooks/04_*.ipynb for some)
# make clean    remove what make made

VENV ?= .venv
BIN := $(VENV)/bin
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The environment that is there already decides; otherwise the first suitable Python.
PYTHON ?= $(shell for p in $(BIN)/python python3 python3.13 python3.12 python3.11; do \
	"$$p" -c "$(SUITABLE)" 2>/dev/null && echo "$$p" && break; done)
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
READY := $(VENV)/ready-$(VERSION)$(if $(filter-out tested,$(VERSIONS)),-$(VERSIONS))
# Lesson 20 needs Ray, PyTorch and JAX, 1.5 GB more: `make test` installs them, `make lab` leaves that to who wants it.
SCALE := $(READY)-scale
NOTEBOOKS ?=
# tested: as in constraints.txt; oldest: the lower bounds of pyproject.toml; newest: whatever its ranges allow.
VERSIONS ?= tested
CONSTRAINTS := $(if $(filter tested,$(VERSIONS)),constraints.txt,build/$(VERSIONS).txt)
LAB_FLAGS ?=
SEAT ?=
COLLECT ?=
STICK_FLAGS ?=
MODEL ?= build/movielens
SERVE_FLAGS ?=
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

# Two tests run at once: with one thread each they spend less time waiting for one another.
test soak check: export OMP_NUM_THREADS ?= 1
test soak check: export TF_NUM_INTRAOP_THREADS ?= 1
course notebooks tables figures: export OMP_NUM_THREADS ?= 2
course notebooks tables figures: export TF_NUM_INTRAOP_THREADS ?= 2
test soak check: export RECFUSE_LEADERBOARD = $(CURDIR)/build/test/leaderboard
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Large arrays lie in large pages where Linux offers them: training takes a fifth less time. Others do not read it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
export JUPYTER_PREFER_ENV_PATH = 1

# A folder or an address that `make stick` filled: what is installed comes from it alone, each wheel with its checksum.
STICK ?=
ifneq ($(STICK),)
export PIP_NO_INDEX := 1
export PIP_CONFIG_FILE := /dev/null
export PIP_FIND_LINKS := $(STICK)/wheels/index.html
export PIP_TRUSTED_HOST := $(firstword $(subst :, ,$(subst /, ,$(patsubst http://%,%,$(STICK)))))
endif

.PHONY: lab room stick test soak check serve course site slides translation tables machine figures notebooks lint types weights clean

# The course's defaults and layout; the reader's own settings stay where they are and win.
lab: export JUPYTER_CONFIG_PATH := $(CURDIR)/course/jupyter$(if $(JUPYTER_CONFIG_PATH),:$(JUPYTER_CONFIG_PATH))
lab: export JUPYTERLAB_WORKSPACES_DIR := $(CURDIR)/build/lab
lab: $(READY) weights build/lab/course-a908.jupyterlab-workspace
	$(BIN)/python -m course.environment
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/workspaces/course/tree/notebooks/00_tour.ipynb $(LAB_FLAGS)

room: $(READY) weights
	$(BIN)/python -m course.room $(if $(SEAT),--name "$(SEAT)") $(COLLECT)

stick: $(READY)
	$(BIN)/python -m course.stick $(STICK_FLAGS)

build/lab/%: course/jupyter/%
	@mkdir -p $(@D) && cp $< $@

test: $(SCALE) weights lint types
	$(PYTEST) -m "not soak" tests recfuse_lib course
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=1800 notebooks

check: $(READY) lint types
	$(PYTEST) -m "not slow and not soak" tests

soak: $(READY) weights
	$(PYTEST) -m soak tests

serve: $(READY) weights
	@test -e $(MODEL)/manifest.json || $(BIN)/recfuse fit ml-small --out $(MODEL)
	$(BIN)/recfuse serve $(MODEL) $(SERVE_FLAGS)

course: $(READY) weights
	$(BIN)/python -m course $(NOTEBOOKS)

site: $(READY)
	$(if $(EDITION),RECFUSE_EDITION=$(EDITION)) $(BIN)/python -m course.site $(if $(EDITION),--output build/site-$(EDITION))

translation: $(READY)
	$(BIN)/python -m course.translation $(or $(EDITION),zh) $(DOCUMENTS)

slides: $(READY)
	$(BIN)/python -m course.slides $(NOTEBOOKS)

tables: $(SCALE) weights
	$(BIN)/python benchmarks/repeat.py

machine: $(READY)
	$(BIN)/python benchmarks/machine.py

figures: $(SCALE) weights
	$(BIN)/python benchmarks/figures.py

notebooks: $(READY) weights
	$(BIN)/python -m course --in-place $(NOTEBOOKS)

lint: $(READY)
	$(BIN)/ruff check --quiet .

types: $(READY)
	$(BIN)/mypy

weights: $(READY)
	$(BIN)/python -m recfuse_lib.pretrained minilm smollm2
	@$(BIN)/python -m recfuse_lib.pretrained ml-100k || echo "Lessons 16, 17 and 21 will not run without ml-100k; the others do."

build/oldest.txt: pyproject.toml
	@mkdir -p build && "$(PYTHON)" -m venv build/resolver && build/resolver/bin/pip install --quiet uv
	build/resolver/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --extra scale --output-file $@ pyproject.toml

build/newest.txt:
	@mkdir -p build && touch $@

$(READY): pyproject.toml $(CONSTRAINTS)
	@test -n "$(VERSION)" || { echo "No Python 3.11, 3.12 or 3.13 found; install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c "$(SUITABLE)" || { echo "$(PYTHON) is Python $(VERSION); RecFuse needs 3.11, 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, venv" 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt install python$(VERSION)-venv"; exit 1; }
	@test "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(VERSION)" || "$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	@rm -f $(VENV)/ready-* && touch $@

$(SCALE): $(READY)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev,scale]"
	@touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
