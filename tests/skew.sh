#!/bin/sh
# The tests of releases that meet, with two real builds of different versions: without
# this, the second one is the first with another number written into it.
set -eu
cd "$(dirname "$0")/.."

other=0.9.9
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
source=$target/skew/source

mkdir -p "$source"
# With the times of the files, so that only what changed is built again.
git ls-files -z -- . ':!tests/peers' ':!tests/fuzz' | xargs -0 cp --parents --preserve=timestamps -t "$source"
sed -i "s/^version = \"0.1.0\"\$/version = \"$other\"/" "$source/Cargo.toml"
cargo build --manifest-path "$source/Cargo.toml" --target-dir "$target/skew/build" -p mcp-remote -p mcp-remoted

cargo build --workspace --bins --locked
MCP_REMOTE_OTHER_BUILD=$target/skew/build/debug \
    cargo test --locked -p mcp-remote-tests --test it -- handover versions service_launch
