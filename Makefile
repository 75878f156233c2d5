# make demo        environment, installation, and the shipped sample dubbed to demo/dubbed.mp4
# make ui          the same environment with the local page, opened in the browser
# make test        environment with the test extras, and the tests
# make lint        style, types and the import law
# make coverage    the tests, and how much of the code they run; fails under the floor
# make test-slow   the tests that take minutes each
# make docs        the documentation site in build/site; from these files alone, warnings are errors
# make test-docs   runs every command of the README and the documentation; slow
# make test-ui     the local page's tests, some of them in a browser (Chromium and its driver)
# make clean       removes what the above made
# make check-install   wheel and sdist, each installed with pip into a fresh environment, every extra imported; slow
# PYTHON=...       another interpreter (3.11 to 3.14)

VENV := .venv
BIN := $(VENV)/bin

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null && echo $$p && break; done)
endif

# Two test processes a core would only wait for each other; files stay together, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest -ra -n auto --dist loadfile

.PHONY: demo ui test test-ui lint coverage test-slow docs test-docs check-install install install-test clean

demo: $(VENV)/.installed
	@test -f samples/target.mp4 && test -f samples/speech.wav || { echo "samples/target.mp4 or samples/speech.wav is missing: clone the whole repository."; exit 1; }
	@mkdir -p demo
	$(BIN)/python -m lipsync dub samples/target.mp4 samples/speech.wav -o demo/dubbed.mp4 --force
	@echo
	@echo "The dubbed video: $(CURDIR)/demo/dubbed.mp4"

ui: $(VENV)/.installed-ui
	$(BIN)/python -m lipsync ui

test: $(VENV)/.installed-test
	$(PYTEST)

test-ui: $(VENV)/.installed-test-ui
	$(BIN)/python -m pytest -ra -m "slow or not slow" tests/lipsync/ui tests/integrations

coverage: $(VENV)/.installed-test
	$(PYTEST) --cov --cov-report=term:skip-covered

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -ra -m slow

docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.generate.schemas
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The documentation: $(CURDIR)/build/site/index.html"

test-docs: $(VENV)/.installed-test
	$(BIN)/python -m pytest -ra -m slow tests/docs

check-install: $(VENV)/.installed-test
	$(BIN)/python -m pytest -ra -m slow tests/test_install.py

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test $(VENV)/.installed-lint

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 with the module venv is needed (Debian: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making the environment $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# The small CPU build of torch first, where it can be had: the ordinary one brings gigabytes of GPU libraries.
$(VENV)/.installed: pyproject.toml ci-constraints.txt | $(VENV)/bin/python
	@echo "Installing (minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check "torch==2.13.0+cpu" 2>/dev/null || true
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e . || $(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@$(mend_opencv)
	@$(BIN)/python -m lipsync doctor --compile
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing the test extras"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e ".[test,dlib,cluster,onnx,provenance]" || $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test]"
	@$(mend_opencv)
	@touch $@

$(VENV)/.installed-ui: $(VENV)/.installed
	@echo "Installing the local page"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e ".[ui]"
	@$(mend_opencv)
	@touch $@

$(VENV)/.installed-test-ui: $(VENV)/.installed-test
	@echo "Installing what the page's tests need"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e ".[test,test-ui]"
	@$(mend_opencv)
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed-test
	@echo "Installing the linters"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e ".[lint]"
	@$(mend_opencv)
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing what writes the documentation"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c ci-constraints.txt -e ".[docs]"
	@$(mend_opencv)
	@touch $@

# opencv-contrib-python needs libGL and GLib from the system; its headless twin, the same but for windows, does not.
define mend_opencv
$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	echo "A system library that OpenCV's windows need is missing: taking its headless build"; \
	version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-contrib-python"))') && \
	$(BIN)/python -m pip uninstall -qq -y opencv-contrib-python opencv-contrib-python-headless && \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps "opencv-contrib-python-headless==$$version" && \
	$(BIN)/python -c 'import cv2'; }
endef

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .coverage
	find media audio video lipsync training tests samples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
