#!/bin/sh
# Installs what the suites here need, each part only if it is not installed as
# its lock file says: the npm packages, the Python packages (TASAK among them,
# twice), the rmcp server.
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
# A folder, and the file that says what is in it.
environment() {
    cmp -s "python/$2" "$1/.installed-lock" && return
    rm -rf "$1"
    python3 -m venv "$1" || {
        echo "python3 cannot make environments: install python3-venv, then run this again" >&2
        exit 1
    }
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "python/$2"
    cp "python/$2" "$1/.installed-lock"
}
environment .venv requirements.txt
environment .venv-tasak1 tasak-mcp1.txt
environment .venv-tasak2 tasak-mcp2.txt

target=${CARGO_TARGET_DIR:-../../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cargo build --quiet --locked --manifest-path rmcp-server/Cargo.toml --target-dir "$target/rmcp-server"
