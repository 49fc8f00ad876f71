#!/usr/bin/env bash
# Runs each fuzz target for a moment, with the address sanitizer, and two canaries, which must be caught.
#
# Needs a stable compiler and a C++ compiler, and no cargo-fuzz: the flags below are those that cargo-fuzz gives. For a
# long run: KVC_FUZZ_SECONDS=3600 fuzz/smoke.sh operations
set -euo pipefail
case "${CARGO_TARGET_DIR:-}" in
  "" | /*) ;;
  *) CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac
cd "$(dirname "$0")"

SECONDS_EACH="${KVC_FUZZ_SECONDS:-10}"
SEED="${KVC_FUZZ_SEED:-1}"
TARGETS=("$@")
[ ${#TARGETS[@]} -gt 0 ] || TARGETS=(operations config c_structs recovery codec_decode codec_roundtrip codec_tables)

HOST="$(rustc -vV | sed -n 's/^host: //p')"
# Sanitizers and coverage are options of the nightly compiler; the stable one has them, too, behind this variable.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../target}/fuzz"
export RUSTFLAGS="-Zsanitizer=address -Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# What is allocated once and kept for all runs is not a leak.
export ASAN_OPTIONS="detect_leaks=1:symbolize=0"
export RUST_BACKTRACE=0

# With a target named, build scripts and macros are built without the flags.
cargo build --quiet --release --target "$HOST" --bins
BIN="$CARGO_TARGET_DIR/$HOST/release"

WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT

run() {
  local target="$1"
  mkdir -p "$WORK/$target" "corpus/$target"
  "$BIN/$target" "$WORK/$target" "corpus/$target" -seed="$SEED" -max_total_time="$SECONDS_EACH" -timeout=20 \
    -max_len=2048 -artifact_prefix="$WORK/$target-" -print_final_stats=1 >"$WORK/$target.log" 2>&1
}

for target in "${TARGETS[@]}"; do
  if run "$target"; then
    echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$WORK/$target.log") runs, nothing found"
  else
    grep -m 1 -A 8 -E "panicked|ERROR: " "$WORK/$target.log" || tail -n 60 "$WORK/$target.log"
    for input in "$WORK/$target"-*; do
      [ -f "$input" ] && echo "input of the failure, base64: $(base64 -w0 "$input")"
    done
    echo "fuzz: $target: failed"
    exit 1
  fi
done

# A file in which a block was forged, with all of its checksums.
if KVC_RECOVERY_CANARY=1 run recovery; then
  echo "fuzz: the forged block was not seen: the recovery target finds nothing"
  exit 1
fi
grep -q "wrong bytes under" "$WORK/recovery.log" || { tail -n 40 "$WORK/recovery.log"; exit 1; }
echo "fuzz: the forged block was seen"

if SECONDS_EACH=60 run canary; then
  echo "fuzz: the canary was not caught: the fuzzers find nothing"
  exit 1
fi
grep -q "heap-buffer-overflow" "$WORK/canary.log" || { tail -n 40 "$WORK/canary.log"; exit 1; }
echo "fuzz: the canary was caught"
