#!/usr/bin/env bash
# Installs what the named uses need from Debian, where root and missing; says what it does, else nothing.
#   tools/system_packages.sh [venv] [node] [chromium] [strace]
# Elsewhere it says what is missing and succeeds: tests that need it are skipped with the same words, or fail in CI.
set -euo pipefail

wanted=()
for use in "$@"; do
    case "$use" in
        venv)
            # The version of the interpreter matters: python3.12 needs python3.12-venv.
            version=$("${PYTHON:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || wanted+=("python$version-venv")
            ;;
        node)
            command -v node >/dev/null || wanted+=(nodejs)
            command -v npm >/dev/null || wanted+=(npm)
            ;;
        chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || wanted+=(chromium) ;;
        strace) command -v strace >/dev/null || wanted+=(strace) ;;
        *)
            echo "unknown use: $use" >&2
            exit 2
            ;;
    esac
done

[ "${#wanted[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and this is not root on Debian: ${wanted[*]}; what needs them is skipped"
    exit 0
fi

echo "installing from Debian: ${wanted[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "could not install ${wanted[*]}; what needs them is skipped" >&2
fi
rm -f "$log"
