#!/bin/sh
# Installs the npm packages that the suites here need, if they are not installed
# as package-lock.json says.
set -eu
cd "$(dirname "$0")"
if ! command -v npm >/dev/null 2>&1; then
    echo "npm was not found: install Node.js 20 or newer, then run this again" >&2
    exit 1
fi
if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund --no-update-notifier
    cp package-lock.json node_modules/.installed-lock
fi
