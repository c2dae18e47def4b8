# Every target sets up .venv by itself from requirements.lock. Without make: see "Without make" in README.md.
PYTHON ?= python3
PORT ?= 8888
TORCH ?=
ifeq ($(OS),Windows_NT)
PY := .venv/Scripts/python.exe
else
PY := .venv/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help setup lab explore course figures test test-browser test-faults test-slow versions bench lint export clean-nbs badges readme hooks lock site site-check clean

help:  ## list the targets
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-13s %s\n", $$1, $$2}'
	@echo "Variables: TORCH=cpu|cuda|default (build of PyTorch), PORT=8888, IP=127.0.0.1 (for explore), PYTHON=python3, RESNET_COURSE_SCALE=smoke|laptop|full, ONLY=03 (for course and figures)"

setup:  ## set up .venv from the lock (nothing to do: under a second)
	@$(PYTHON) tools/setup_env.py $(if $(TORCH),--torch $(TORCH))

lab: setup  ## read and run the course in JupyterLab (localhost, with a token; PORT=...)
	@$(PY) tools/lab.py --port $(PORT)

explore: setup  ## the explorers as web pages, without code (localhost unless IP=...; PORT=8866)
	@$(PY) tools/explore.py --port $(if $(filter-out file,$(origin PORT)),$(PORT),8866) $(if $(IP),--ip $(IP))

course: setup  ## run every lesson in order; executed copies and HTML pages go to _course/ (ONLY=03: one lesson)
	@$(PY) tools/course.py $(if $(ONLY),--only $(ONLY))

figures: setup  ## run the lessons as `make course` does and keep their outputs in nbs/ (ONLY=03: one lesson)
	@$(PY) tools/course.py --in-place $(if $(ONLY),--only $(ONLY))

test: setup  ## check everything but browsers and faults: export, README and badges in sync, notebooks clean, linter, cells, tests
	@$(PY) tools/test.py

test-browser: setup  ## the tests that use a real browser (Chromium): JupyterLab, lessons, explorers
	@RESNET_COURSE_SCALE=smoke OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_explore.py tests/test_lab.py -n 2

test-faults: setup  ## break things on purpose, all of tests/README.md (half an hour)
	@RESNET_COURSE_FAULTS=full RESNET_COURSE_SCALE=smoke $(PY) -m pytest tests/test_distributed.py tests/faults

test-slow: setup  ## the tests in a browser, and beside them a few faults of each kind: with `test` all that CI runs
	@RESNET_COURSE_SCALE=smoke OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_explore.py tests/test_distributed.py tests/test_lab.py tests/faults -n 2 --dist loadfile --no-loadscope-reorder

versions: setup  ## try the oldest and newest allowed versions on Python 3.10 to 3.13; tests/versions.md (6 GB of disk, many to download)
	@$(PY) tools/versions.py

bench: setup  ## speed and memory against other ways, in ratios measured side by side; how soon explorers answer (12 minutes)
	@$(PY) benchmarks/bench.py --out benchmarks/results.json; a=$$?; $(PY) benchmarks/latency.py --out benchmarks/latency.json && exit $$a

lint: setup  ## look for mistakes (ruff) and misspelt words (codespell) in notebooks and other files
	@$(dir $(PY))ruff check --no-cache .
	@$(dir $(PY))codespell .

export: setup  ## write resnet_course/ from the notebooks
	@$(dir $(PY))nbdev_export

clean-nbs: setup  ## strip notebooks of widget state, execution counts and metadata
	@$(PY) tools/clean.py

badges: setup  ## write the badges and the cell for Colab into the lessons, from settings.ini
	@$(PY) tools/badges.py

readme: setup  ## write README.md from nbs/index.ipynb
	@$(PY) tools/readme.py

hooks: setup  ## let git merge notebooks cell by cell in this clone
	@$(PY) tools/hooks.py

lock: setup  ## compile requirements.lock anew from settings.ini (all platforms, Python 3.10 and newer)
	@$(PY) -m uv pip compile --quiet --upgrade --universal --python-version 3.10 --extra dev \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	@$(PY) -m uv pip compile --quiet --upgrade --universal --python-version 3.10 --no-annotate -c requirements.lock \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" tools/site/requirements.in -o tools/site/requirements.txt

site: setup  ## the course as a static site for reading, without a kernel or a network: _site/html/index.html
	@$(PY) -m uv pip install --quiet --python $(PY) -r tools/site/requirements.txt
	@$(PY) tools/site/build.py

site-check: site  ## look at the built site: links, text alternatives, and in Chromium accessibility (axe), dark mode, phone, search
	@$(PY) tools/site/check.py

clean:  ## remove what was built here (not .venv, not data, not runs)
	@rm -rf _course _site _screenshots _docs _proc build dist *.egg-info .pytest_cache .hypothesis
