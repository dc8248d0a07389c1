#!/usr/bin/env bash
# Makes .venv: uv from bootstrap.txt, everything else from requirements.lock, all by hash, then
# this project in editable form. Run by `make setup`; nothing is installed anywhere else.
set -euo pipefail
python=${PYTHON:-python3}
stamp=.venv/.complete
need_gb=6

if [ ! -e "$stamp" ]; then
    echo "Setting up .venv: about $need_gb GB on disk (torch with its libraries is most of it), a few minutes."
fi

"$python" - <<'P' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Python: got {sys.version.split()[0]}, expected 3.11 or newer; name one: make setup PYTHON=python3.12")
P
"$python" -c 'import venv, ensurepip' 2>/dev/null || {
    echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2
    exit 1
}

if [ ! -e "$stamp" ]; then
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    if [ "$free_kb" -lt $((need_gb * 1024 * 1024)) ]; then
        echo "Disk: got $((free_kb / 1024 / 1024)) GB free here, expected $need_gb GB or more" >&2
        exit 1
    fi
    rm -rf .venv # half-made, or none
    "$python" -m venv .venv
fi
rm -f "$stamp"

# uv must not take another environment for this one.
unset VIRTUAL_ENV CONDA_PREFIX PYTHONPATH
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.txt
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
touch "$stamp"
