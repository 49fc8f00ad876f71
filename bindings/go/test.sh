#!/usr/bin/env bash
# Tests the Go binding against a built library: bindings/go/test.sh LIBDIR
# LIBDIR has libkvcache.so and its link libkvcache.so.0.1. What is not installed is skipped, and said; with KVC_CI set,
# that is a failure.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 LIBDIR" >&2; exit 2; }
libdir=$(cd "$1" && pwd)
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

missing() {
  echo "bindings/go: skipped: $1" >&2
  [ -z "${KVC_CI:-}" ] || exit 1
}

[ -e "$libdir/libkvcache.so" ] || { echo "$libdir has no libkvcache.so" >&2; exit 1; }
command -v go >/dev/null || { missing "all of it, no go here (apt-get install golang-go)"; exit 0; }
command -v "${CC:-gcc}" >/dev/null || { missing "all of it, no C compiler for cgo (apt-get install gcc)"; exit 0; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
cat > "$work/kvcache.pc" <<EOF
Name: kvcache
Description: the library under test
Version: $version
Libs: -L$libdir -lkvcache
Cflags: -I$root/include
EOF
export LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export GOPROXY=off GOFLAGS='' GOTOOLCHAIN=local CGO_ENABLED=1
if command -v pkg-config >/dev/null; then
  export PKG_CONFIG_PATH="$work${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
else
  missing "the way through pkg-config (apt-get install pkg-config)"
  export GOFLAGS=-tags=kvcache_flags CGO_CFLAGS="-O2 -I$root/include" CGO_LDFLAGS="-L$libdir"
fi

echo "== gofmt, go vet ($(go version | cut -d' ' -f3))"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted" >&2; exit 1; }
go vet ./...

echo "== tests"
go test -count=1 ./...

echo "== tests, race detector, every pointer that cgo passes on checked"
minor=$(go version | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
if [ "$minor" -ge 21 ]; then
  GOEXPERIMENT=cgocheck2 go test -count=1 -race .
else
  GODEBUG=cgocheck=2 go test -count=1 -race .
fi

echo "== samples"
for sample in quickstart tiers prefix_share offload; do
  go build -o "$work/$sample" "./examples/$sample"
  "$work/$sample" | tee "$work/$sample.out"
  [ "$(tail -n 1 "$work/$sample.out")" = "$sample: ok" ] || { echo "$sample did not end well" >&2; exit 1; }
done

echo "== a module of its own, as README.md says"
mkdir "$work/program"
sed -n '/^```go main$/,/^```$/p' README.md | sed '1d;$d' | gofmt > "$work/program/main.go"
(
  cd "$work/program"
  go mod init example/program 2>/dev/null
  go mod edit -require libkvcache/kvcache@v0.0.0 -replace "libkvcache/kvcache=$root/bindings/go"
  [ "$(go run .)" = "hello" ] || { echo "the program in README.md does not say hello" >&2; exit 1; }
)
echo "bindings/go: ok"
