#!/bin/sh
# Installs what the suites here need, each part only if it is not installed as
# its lock file says: the npm packages, a browser, the Python packages (TASAK among
# them, twice), the rmcp server. `install.sh npm` installs the npm packages only.
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

# Only Debian's package can be installed from here, and only by root.
install_chromium() {
    if [ "$(id -u)" = 0 ]; then
        as_root=env
    elif sudo -n true 2>/dev/null; then
        as_root="sudo env"
    else
        return 1
    fi
    command -v apt-get >/dev/null 2>&1 &&
        $as_root apt-get update -qq &&
        $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
}

if ! command -v "${CHROMIUM:-chromium}" >/dev/null 2>&1; then
    if [ -n "${CHROMIUM:-}" ] || ! install_chromium; then
        echo "${CHROMIUM:-chromium} was not found: install Chromium, or name it in CHROMIUM, then run this again" >&2
        exit 1
    fi
fi

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
