#!/bin/sh
# Runs every test: units, behaviour against fakes, and the suites against real
# software. The closing lines are the runners' own.
set -u
cd "$(dirname "$0")/.."

failed=

run() {
    printf '\n== %s\n' "$*"
    "$@" || failed="$failed
  $*"
}

# The behaviour tests start the programs that they find beside themselves.
run cargo build --workspace --bins --locked
run sh tests/peers/install.sh
if [ -z "$failed" ]; then
    MCP_REMOTE_BIN_DIR=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
    export MCP_REMOTE_BIN_DIR
    run cargo test --workspace --locked --no-fail-fast
    run npm --prefix tests/peers test
fi

if [ -n "$failed" ]; then
    printf '\nFAILED:%s\n' "$failed" >&2
    exit 1
fi
