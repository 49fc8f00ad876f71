# Sourced by test.sh and bench.sh, with libdir set: sets `zig`, `version` and `build`, the command that builds.
#
# Zig is `zig` of PATH or KVC_ZIG, or that of the Python package ziglang. Where there is none it says so and ends the
# script: well, or with a failure if KVC_CI is set. KVC_ZIG_CACHE is a folder to keep what was built in.

skip() {
  echo "zig: skipped: $1 (pip install ziglang, or set KVC_ZIG)" >&2
  [ -z "${KVC_CI:-}" ] && exit 0
  exit 1
}

zig=()
if [ -n "${KVC_ZIG:-}" ]; then
  read -r -a zig <<<"$KVC_ZIG"
elif command -v zig >/dev/null 2>&1; then
  zig=(zig)
elif python3 -c 'import ziglang' >/dev/null 2>&1; then
  zig=(python3 -m ziglang)
fi
[ ${#zig[@]} -ne 0 ] || skip "there is no zig here"
version=$("${zig[@]}" version)
case "$version" in
0.1[789].* | 0.[2-9]?.* | [1-9].*) ;;
*) skip "zig is $version, and this package needs 0.17" ;;
esac

cache=${KVC_ZIG_CACHE:-}
if [ -z "$cache" ]; then
  cache=$(mktemp -d "${TMPDIR:-/tmp}/kvcache-zig-XXXXXX")
  trap 'rm -rf "$cache"' EXIT
fi
build=("${zig[@]}" build "-Dlibdir=$libdir" --cache-dir "$cache" --prefix "$cache/out")
