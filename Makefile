# `make demo` and `make test` each do all the set-up they need.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete

# Every method, trained on a few phantoms; under two minutes each.
METHODS := anomaly_cascade mined_cnn patch_to_image second_look tissue_heatmap

# Of what nobody runs after each change: that what it calls is there, and takes what it gives.
LOOSELY := --no-strict-equality --allow-untyped-defs --allow-incomplete-defs --allow-any-generics --no-warn-return-any \
    $(addprefix --disable-error-code=,index operator union-attr assignment dict-item list-item misc return-value var-annotated call-overload)

.PHONY: setup demo test test-all check smoke figures lock lock-check clean

setup: $(STAMP)

$(STAMP): requirements.lock bootstrap.txt pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" bash tools/setup.sh

demo: setup
	@$(BIN)/secondreader demo

test: setup
	@$(BIN)/python -m pytest -m "not slow"

test-all: setup
	@$(BIN)/python -m pytest

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy $(LOOSELY) benchmarks tools
	@$(BIN)/lint-imports
	@$(BIN)/python tools/figures.py --check

smoke: setup
	@for method in $(METHODS); do \
	    $(BIN)/secondreader train $$method --preset smoke --data phantom=tiny -o runs/smoke-$$method || exit 1; \
	done

# The tables of READMEs, from figures/.
figures: setup
	@$(BIN)/python tools/figures.py

# The lock names no address: hashes say what is installed, the installer's own settings say from where.
lock: setup
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --custom-compile-command "make lock" bootstrap.in -o bootstrap.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" --group dev pyproject.toml -o requirements.lock

# Does the lock resolve, with wheels, on the other systems that we name?
lock-check: setup
	@for python in 3.12 3.13; do \
	    for platform in x86_64-manylinux_2_28 x86_64-pc-windows-msvc aarch64-apple-darwin; do \
	        echo "Python $$python on $$platform"; \
	        MACOSX_DEPLOYMENT_TARGET=14.0 $(BIN)/uv pip compile -q --python-version $$python --python-platform $$platform --no-header \
	            --only-binary :all: --generate-hashes requirements.lock -o /dev/null || exit 1; \
	    done; \
	done

clean:
	rm -rf .venv demo
