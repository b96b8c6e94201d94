#!/bin/sh
# Builds mcp-remote and mcp-remoted, installs them for this user, and runs the
# main job on a real server that needs no account. Rust and Node.js are the only
# prerequisites. May be run again at any time.
set -eu
cd "$(dirname "$0")/.."

install_dir=${MCP_REMOTE_INSTALL_DIR:-$HOME/.local/bin}
target_dir=${CARGO_TARGET_DIR:-target}

say() { printf '\n== %s\n' "$1"; }

for program in cargo node npm; do
    command -v "$program" >/dev/null 2>&1 || {
        echo "$program was not found: install Rust (rustup.rs) and Node.js 20 or newer, then run this again" >&2
        exit 1
    }
done

say "Building (some minutes the first time)"
cargo build --release --locked -p mcp-remoted
cargo build --profile shim --locked -p mcp-remote

say "Installing to $install_dir"
mkdir -p "$install_dir"
for built in shim/mcp-remote release/mcp-remoted; do
    program=${built##*/}
    # Moved into place, since a running program cannot be written over.
    cp "$target_dir/$built" "$install_dir/.$program.new"
    mv -f "$install_dir/.$program.new" "$install_dir/$program"
    echo "$install_dir/$program"
done
# A daemon of an earlier release would go on serving.
"$install_dir/mcp-remote" stop >/dev/null 2>&1 || true

say "Fetching the server to talk to"
sh tests/peers/install.sh npm
echo "server-everything is in tests/peers/node_modules"

say "Talking to it"
node tests/peers/demo.mjs "$install_dir"

say "Done"
echo "The daemon that the first call started goes on and ends by itself when nobody"
echo "has used it for 15 minutes; 'mcp-remote stop' ends it now."
case ":$PATH:" in
    *":$install_dir:"*) ;;
    *) echo "$install_dir is not on your PATH: add it, or write $install_dir/mcp-remote." ;;
esac
