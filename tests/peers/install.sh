#!/bin/sh
# Installs what the suites here need, each part only if it is not installed as
# its lock file says: the npm packages, the Python packages, the rmcp server.
# `install.sh npm` installs the npm packages only.
set -eu
cd "$(dirname "$0")"

need() {
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "$1 was not found: install $2, then run this again" >&2
        exit 1
    fi
}

need npm "Node.js 20 or newer"
if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund --no-update-notifier
    cp package-lock.json node_modules/.installed-lock
fi
[ "${1:-all}" = all ] || exit 0

need python3 "Python 3.11 or newer"
if ! cmp -s python/requirements.txt .venv/.installed-lock; then
    rm -rf .venv
    python3 -m venv .venv || {
        echo "python3 cannot make environments: install python3-venv, then run this again" >&2
        exit 1
    }
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r python/requirements.txt
    cp python/requirements.txt .venv/.installed-lock
fi

target=${CARGO_TARGET_DIR:-../../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cargo build --quiet --locked --manifest-path rmcp-server/Cargo.toml --target-dir "$target/rmcp-server"
