#!/usr/bin/env bash
# The figure of the C++ binding, as one line of JSON: what acquire and release cost over the same calls from C.
#
#   bench.sh LIBDIR     the folder with libkvcache.so and libkvcache.so.0.1
set -euo pipefail
libdir=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CXX:-c++}" -std=c++17 -O2 -I"$here/../../include" "$here/bench/acquire.cpp" -L"$libdir" -lkvcache \
  -Wl,-rpath,"$libdir" -o "$work/acquire"
"$work/acquire" "${KVC_BENCH_PAIRS:-2000}"
