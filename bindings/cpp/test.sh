#!/usr/bin/env bash
# Everything of the C++ binding: the header under every compiler, standard and switch that it is for, unit tests,
# misuse, key vectors, leaks, sanitizers, the samples, the CMake package, formatter and lints.
#
#   test.sh LIBDIR     the folder with libkvcache.so, libkvcache.so.0.1 and libkvcache.a
#
# What needs a tool that is not here is skipped and named; with KVC_CI set that is a failure.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 LIBDIR" >&2; exit 2; }
libdir=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
[ -e "$libdir/libkvcache.so" ] || { echo "$libdir has no libkvcache.so: cargo build --release makes it" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skipped=0
skip() {
  echo "skipped: $1" >&2
  skipped=1
}
have() { command -v "$1" >/dev/null 2>&1; }
finish() {
  if [ "$skipped" -ne 0 ] && [ -n "${KVC_CI:-}" ]; then
    echo "KVC_CI is set: nothing may be skipped" >&2
    exit 1
  fi
  exit 0
}

cxx=${CXX:-c++}
have "$cxx" || { skip "all of the C++ binding: no compiler $cxx (g++ has one)"; finish; }
compilers=("$cxx")
for compiler in g++ clang++; do
  if ! have "$compiler"; then
    skip "the header under $compiler"
  elif [ "$(realpath "$(command -v "$compiler")")" != "$(realpath "$(command -v "$cxx")")" ]; then
    compilers+=("$compiler")
  fi
done

warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Werror)
linked=(-I"$root/include" -L"$libdir" -lkvcache -Wl,-rpath,"$libdir" -pthread)

# The header by itself: every standard and switch, without a warning.
printf '#include <kvcache.hpp>\n' >"$work/alone.cpp"
alone=0
for compiler in "${compilers[@]}"; do
  for standard in c++17 c++20 c++2b; do
    for switches in "" "-fno-exceptions -fno-rtti" "-DKVCACHE_OWN_SPAN" "-O2 -DNDEBUG"; do
      # shellcheck disable=SC2086 # The switches are words.
      "$compiler" -std=$standard $switches "${warnings[@]}" -I"$root/include" -fsyntax-only "$work/alone.cpp"
      alone=$((alone + 1))
    done
  done
  if "$compiler" --version | grep -q clang; then
    "$compiler" -std=c++17 -Wdocumentation "${warnings[@]}" -I"$root/include" -fsyntax-only "$work/alone.cpp"
  fi
done
echo "header: compiles in $alone ways without a warning (${compilers[*]})"

# build NAME COMPILER FLAGS... : a test of that name, and of second.cpp where it is the unit test.
build() {
  local name=$1 compiler=$2
  shift 2
  local files=("$here/tests/$name.cpp")
  [ "$name" != unit ] || files+=("$here/tests/second.cpp")
  "$compiler" "$@" -g "${warnings[@]}" "${files[@]}" "${linked[@]}" -o "$work/$name"
}
vectors=$root/tests/vectors/keys.txt

for compiler in "${compilers[@]}"; do
  for standard in c++17 c++20; do
    echo "-- $compiler -std=$standard"
    build unit "$compiler" -std=$standard -O1
    "$work/unit"
  done
  build misuse "$compiler" -std=c++17 -O1
  "$work/misuse"
done
echo "-- -std=c++20 -fno-exceptions -fno-rtti -DKVCACHE_OWN_SPAN -O2"
build unit "$cxx" -std=c++20 -O2 -fno-exceptions -fno-rtti -DKVCACHE_OWN_SPAN
"$work/unit"
build vectors "$cxx" -std=c++17 -O1
"$work/vectors" "$vectors"
build leak "$cxx" -std=c++17 -O2
"$work/leak" "${KVC_LEAK_ROUNDS:-100000}" "${KVC_LEAK_OPENS:-100000}"

# Sanitizers. The library itself is not instrumented: this watches what the header and the tests do.
sanitized=(-std=c++17 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
printf 'int main() { return 0; }\n' >"$work/empty.cpp"
if "$cxx" "${sanitized[@]}" "$work/empty.cpp" -o "$work/empty" 2>/dev/null && "$work/empty"; then
  echo "-- -fsanitize=address,undefined"
  # Checks that what is checked is seen: memory that is used after it was freed.
  printf 'int main() { volatile int *p = new int(1); delete p; return *p; }\n' >"$work/wrong.cpp"
  "$cxx" "${sanitized[@]}" -w "$work/wrong.cpp" -o "$work/wrong"
  ! "$work/wrong" 2>/dev/null || { echo "the sanitizer lets memory be used after it was freed" >&2; exit 1; }
  for name in unit misuse vectors; do
    build "$name" "$cxx" "${sanitized[@]}"
    arguments=()
    [ "$name" != vectors ] || arguments=("$vectors")
    ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 "$work/$name" "${arguments[@]}"
  done
else
  skip "sanitizers: $cxx has none here"
fi

for sample in quickstart tiers prefix_share offload; do
  "$cxx" -std=c++17 -O1 "${warnings[@]}" "$here/samples/$sample.cpp" "${linked[@]}" -o "$work/$sample"
  "$work/$sample" | tee "$work/$sample.out"
  [ "$(tail -n 1 "$work/$sample.out")" = "$sample: ok" ] || { echo "$sample does not end with its ok" >&2; exit 1; }
done
# The benchmark runs; what it measures is not judged here.
"$cxx" -std=c++17 -O2 "${warnings[@]}" "$here/bench/acquire.cpp" "${linked[@]}" -o "$work/acquire"
"$work/acquire" 20 >/dev/null

if ! have cmake || ! have make || ! have readelf; then
  skip "the CMake package: it takes cmake, make and readelf"
elif [ ! -e "$libdir/libkvcache.a" ]; then
  skip "the CMake package: $libdir has no libkvcache.a"
else
  "$here/tests/cmake.sh" "$libdir"
fi

if have python3; then
  python3 "$here/tests/documented.py" "$root/include/kvcache.hpp"
else
  skip "documentation of every item: no python3"
fi

sources=("$here"/*/*.cpp "$here"/*/*.hpp "$here"/tests/cmake/*.c*)
if have clang-format; then
  clang-format --style="file:$here/.clang-format" --dry-run -Werror "$root/include/kvcache.hpp" "${sources[@]}"
  echo "format: as clang-format has it"
else
  skip "the formatter: no clang-format"
fi
if have clang-tidy; then
  printf '%s\0' "$here"/samples/*.cpp "$here"/bench/*.cpp "$here"/tests/{unit,misuse}.cpp |
    xargs -0 -n 1 -P 2 sh -c 'clang-tidy --quiet --config-file="$1" "$3" -- -std=c++17 -I"$2" 2>/dev/null' \
      lint "$here/.clang-tidy" "$root/include"
  echo "lint: nothing from clang-tidy"
else
  skip "lints: no clang-tidy"
fi
finish
