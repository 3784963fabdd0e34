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
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    # pip and setuptools say much that helps nobody; all of it is shown when something fails.
    .venv/bin/python -m pip install --disable-pip-version-check "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
install --require-hashes -r requirements/dev.lock
install --no-deps --no-build-isolation -e .
