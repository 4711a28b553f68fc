#!/usr/bin/env bash
# Builds what users download: target/dist/plimsoll, and its symbols beside it in target/dist/plimsoll.debug, which
# backtraces and debuggers find by themselves as long as both files stand in one folder.
set -euo pipefail
cd "$(dirname "$0")"

target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked -p tools
mkdir -p "$target/dist"
objcopy --only-keep-debug --compress-debug-sections "$target/release/plimsoll" "$target/dist/plimsoll.debug"
objcopy --strip-unneeded "$target/release/plimsoll" "$target/dist/plimsoll"
(cd "$target/dist" && objcopy --add-gnu-debuglink=plimsoll.debug plimsoll)

size=$(stat --format %s "$target/dist/plimsoll")
echo "$target/dist/plimsoll: $size bytes; symbols: $(stat --format %s "$target/dist/plimsoll.debug") bytes"
"$target/dist/plimsoll" --version
[ "$size" -lt $((40 << 20)) ] || { echo "the program is larger than 40 MB" >&2; exit 1; }
