#!/usr/bin/env bash
# The figures of the Go binding beside C, as JSON: bindings/go/bench.sh LIBDIR
# LIBDIR has libkvcache.so and its link libkvcache.so.0.1.
set -euo pipefail

libdir=$(cd "${1:?usage: bench.sh LIBDIR}" && pwd)
cd "$(dirname "$0")"
export LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export GOPROXY=off GOFLAGS=-tags=kvcache_flags GOTOOLCHAIN=local CGO_ENABLED=1
export CGO_CFLAGS="-O2 -I$(cd ../.. && pwd)/include" CGO_LDFLAGS="-L$libdir"
go run ./bench
