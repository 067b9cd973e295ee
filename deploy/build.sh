#!/usr/bin/env bash
# Builds the program for packages: deploy/build.sh DIR writes DIR/proxyherd. The same source
# and tools give the same bytes in any folder: paths of this machine are mapped away. The
# Dockerfile and release.sh call it.
set -euo pipefail
out=$(mkdir -p "$1" && realpath "$1")
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# The longest path last: the last that matches is used.
map=""
for pair in "$cargo_home=/cargo" "$PWD=/proxyherd" "$CARGO_TARGET_DIR=/target"; do
    map+=" --remap-path-prefix=$pair"
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$pair"
done
export CFLAGS RUSTFLAGS="${RUSTFLAGS:-}$map"

cargo build --locked --profile dist
install -m 755 "$CARGO_TARGET_DIR/dist/proxyherd" "$out/proxyherd"
