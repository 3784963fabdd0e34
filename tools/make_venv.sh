#!/usr/bin/env bash
# Makes or refreshes .venv from the pinned, hashed lock. Needs nothing but Python 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Doorstep needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo 'not there')." >&2
    echo "Name another one: make venv PYTHON=python3.12" >&2
    exit 1
fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    echo "making .venv with $("$python" --version)"
    rm -rf .venv
    if ! "$python" -m venv .venv 2>.venv-error.log; then
        # Debian keeps ensurepip in a package of its own.
        rm -rf .venv
        PYTHON="$python" bash tools/system_packages.sh venv
        "$python" -m venv .venv || { cat .venv-error.log >&2; exit 1; }
    fi
    rm -f .venv-error.log
fi

echo "installing the pinned packages"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
