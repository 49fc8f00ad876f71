#!/usr/bin/env bash
# Installs the library into a temporary prefix and builds a project that finds it with CMake: where it was installed,
# and after the whole tree was moved.
#
#   cmake.sh LIBDIR     the folder with libkvcache.so and libkvcache.a
set -euo pipefail
libdir=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make --no-print-directory -C "$root" install-library LIBDIR="$libdir" PREFIX="$work/first" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }

build() {
  local prefix=$1 folder=$2
  cmake -S "$here/cmake" -B "$folder" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >"$work/log" 2>&1 &&
    cmake --build "$folder" >>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  for program in shared static from_c; do
    "$folder/$program" || { echo "$program, found in $prefix, answers $?" >&2; exit 1; }
  done
}
build "$work/first" "$work/build"
mv "$work/first" "$work/second"
build "$work/second" "$work/build-moved"
readelf -d "$work/build-moved/shared" | grep -q 'NEEDED.*libkvcache\.so\.[0-9]' ||
  { echo "the program does not ask for the library by its soname" >&2; exit 1; }

# Versions that it can't stand in for are not found; those that it can, are.
asked() {
  printf 'cmake_minimum_required(VERSION 3.16)\nproject(asks NONE)\nfind_package(kvcache %s CONFIG REQUIRED)\n' "$1" \
    >"$work/asks/CMakeLists.txt"
  rm -rf "$work/asks/build"
  cmake -S "$work/asks" -B "$work/asks/build" -DCMAKE_PREFIX_PATH="$work/second" >"$work/log" 2>&1
}
mkdir "$work/asks"
for version in "" 0 0.1 0.1.0 "0.1.0 EXACT"; do
  asked "$version" || { cat "$work/log" >&2; echo "find_package(kvcache $version) finds nothing" >&2; exit 1; }
done
for version in 0.0 0.2 1 0.1.9; do
  ! asked "$version" || { echo "find_package(kvcache $version) finds a version that does not fit" >&2; exit 1; }
done

# A tree that lacks a file is not found, and the message says which.
rm "$work/second/include/kvcache.hpp"
! asked 0.1 || { echo "a tree without kvcache.hpp is found" >&2; exit 1; }
grep -q 'kvcache.hpp is missing' "$work/log" || { cat "$work/log" >&2; exit 1; }
echo "cmake: found where it was installed and after a move; versions and missing files are refused"
