#!/usr/bin/env bash
# Installs what the demo and the tests use beyond Rust: C and C++ compilers with their formatter and lints, CMake, Go,
# Python with its virtual environments, valgrind, pkg-config. `install-tools.sh demo` installs what the demo uses.
# Where that is not possible it says what is missing; the tests then say what they skipped.
set -euo pipefail

declare -A package=([cc]=gcc)
if [ "${1:-}" != demo ]; then
  package+=([c++]=g++ [clang++]=clang [clang-format]=clang-format [clang-tidy]=clang-tidy [cmake]=cmake [go]=golang-go
    [python3]=python3 [valgrind]=valgrind [pkg-config]=pkg-config [nm]=binutils)
fi
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null 2>&1 || missing+=("${package[$tool]}")
done
# Debian's Python has the module and lacks what it installs.
[ "${1:-}" = demo ] || python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
[ ${#missing[@]} -ne 0 ] || exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
    echo "not installed, and no permission to install: ${missing[*]}" >&2
    exit 0
  fi
  root=(sudo -n)
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed, and no apt-get here to install them with: ${missing[*]}" >&2
  exit 0
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" libc6-dev >/dev/null
