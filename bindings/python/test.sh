#!/usr/bin/env bash
# Tests the Python binding: test.sh LIBDIR, the folder with libkvcache.so.
#
# Declarations against the header, unit tests, key vectors, misuse, leaks, samples, the wheel, types, formatter and
# lints. What needs a tool that is not there is named and skipped; with KVC_CI set it fails.
# KVC_LEAK_SECONDS bounds the rounds of opening and closing (20).
set -euo pipefail

if [ $# -ne 1 ] || [ ! -e "$1/libkvcache.so" ]; then
  echo "usage: test.sh LIBDIR, the folder with libkvcache.so" >&2
  exit 2
fi
KVCACHE_LIBRARY=$(cd "$1" && pwd)/libkvcache.so
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
export KVCACHE_LIBRARY PYTHONDONTWRITEBYTECODE=1

skip() {
  echo "bindings/python: skipped: $1"
  [ -z "${KVC_CI:-}" ] || exit 1
}

if ! command -v "$PYTHON" >/dev/null 2>&1; then
  skip "everything, there is no $PYTHON"
  exit 0
fi

# The tools, in an environment of their own that is made once: the system's Python stays as it is.
if ! "$PYTHON" -c 'import pytest, numpy, mypy, auditwheel, setuptools.command.bdist_wheel' 2>/dev/null ||
  ! "$PYTHON" -m ruff --version >/dev/null 2>&1; then
  VENV=${KVC_PYTHON_VENV:-../../target/venv-python}
  if [ ! -x "$VENV/bin/ruff" ]; then
    if ! { "$PYTHON" -m venv "$VENV" && "$VENV/bin/pip" install --quiet --upgrade 'setuptools>=71' pytest numpy mypy ruff \
      auditwheel; } >/dev/null 2>&1; then
      skip "what needs pytest, numpy, mypy, ruff and auditwheel: they are not there and cannot be installed with pip"
    fi
  fi
  [ ! -x "$VENV/bin/python" ] || PYTHON=$VENV/bin/python
fi
case $PYTHON in */*) PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON") ;; esac
export PYTHONPATH=$PWD/src

"$PYTHON" generate.py --check
for sample in quickstart tiers prefix_share offload; do
  "$PYTHON" -W error "samples/$sample.py"
done
if "$PYTHON" -c 'import pytest' 2>/dev/null; then "$PYTHON" -m pytest -p no:cacheprovider -rs tests; else skip pytest; fi
if "$PYTHON" -c 'import mypy' 2>/dev/null; then "$PYTHON" -m mypy --cache-dir /dev/null; else skip mypy; fi
if "$PYTHON" -m ruff --version >/dev/null 2>&1; then
  "$PYTHON" -m ruff format --no-cache --check --quiet .
  "$PYTHON" -m ruff check --no-cache --quiet .
else
  skip ruff
fi
echo "bindings/python: ok"
