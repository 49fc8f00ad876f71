#!/usr/bin/env bash
# Times a hit through acquire and release, beside C in the same process, and prints one JSON object.
#
#     bindings/zig/bench.sh LIBDIR    the folder with libkvcache.so and its link libkvcache.so.0.1
set -euo pipefail

libdir=$(cd "${1:?usage: bench.sh LIBDIR}" && pwd)
cd "$(dirname "$0")"
source ./find-zig.sh
"${build[@]}" bench -Doptimize=fast
