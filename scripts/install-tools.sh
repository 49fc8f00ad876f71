#!/usr/bin/env bash
# Installs what the demo and the tests use beyond Rust: a C and a C++ compiler, valgrind, pkg-config.
# Where that is not possible it says what is missing; the tests then say what they skipped.
set -euo pipefail

declare -A package=([cc]=gcc [c++]=g++ [valgrind]=valgrind [pkg-config]=pkg-config [nm]=binutils)
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null 2>&1 || missing+=("${package[$tool]}")
done
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
