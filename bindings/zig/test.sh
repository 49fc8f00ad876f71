#!/usr/bin/env bash
# Builds and runs everything of the Zig package: stale declarations, formatting, unit, tier, misuse, vector and layout
# tests, the leak test, the samples, a program that depends on the package.
#
#     bindings/zig/test.sh LIBDIR    the folder with libkvcache.so and its link libkvcache.so.0.1
#
# Without zig it says what it skipped and is content, unless KVC_CI is set; find-zig.sh says where it looks.
set -euo pipefail

libdir=$(cd "${1:?usage: test.sh LIBDIR}" && pwd)
cd "$(dirname "$0")"
python3 generate.py --check
echo "zig: the declarations are those of the header"

source ./find-zig.sh
"${build[@]}" fmt
echo "zig $version: formatting"
"${build[@]}" test --summary new
"${build[@]}" leak
"${build[@]}" samples
# That program is the README's quickstart, as it stands there.
awk '/^```zig$/ { part++; inside = part == 3; next } /^```$/ { inside = 0 } inside' README.md |
  diff - tests/consumer/src/main.zig
(cd tests/consumer && "${build[@]}" run)
echo "zig: ok"
