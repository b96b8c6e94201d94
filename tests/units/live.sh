#!/bin/sh
# Runs the units in a real user manager of systemd: installs them by `mcp-remote service
# install` and looks at what becomes of daemon, socket and clients. The manager lives in
# namespaces of its own and sees no file of this user. Needs root, and exits with 77
# where that or a part of systemd is missing. Usage: live.sh FOLDER-OF-THE-PROGRAMS
set -eu

if [ -z "${MCP_REMOTE_UNITS_ROOM:-}" ]; then
    programs=$(cd "$1" && pwd)
    here=$(cd "$(dirname "$0")" && pwd)
    cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    if [ "$(id -u)" != 0 ] || [ ! -x /lib/systemd/systemd ] || [ -z "$cgroups" ] ||
        ! command -v unshare >/dev/null || ! command -v systemd-run >/dev/null; then
        echo "not run: it needs root, systemd, unshare and cgroup2"
        exit 77
    fi
    room=$(mktemp -d)
    group=$cgroups/mcp-remote-units-$$
    mkdir "$group" "$room/home" "$room/run" "$room/bin"
    chmod 700 "$room/run"
    cp "$programs/mcp-remote" "$programs/mcp-remoted" "$room/bin/"
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$group" \
        env -i HOME="$room/home" XDG_RUNTIME_DIR="$room/run" PATH="$room/bin:/usr/bin:/bin" \
        MCP_REMOTE_UNITS_ROOM="$room" PYTHON="$(command -v python3)" \
        unshare --mount --pid --fork --kill-child --mount-proc --cgroup --propagation private \
        sh "$here/live.sh" && result=0 || result=$?
    rm -rf "$room"
    # Its processes have ended with their namespace.
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    exit $result
fi

room=$MCP_REMOTE_UNITS_ROOM
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "FAILED: $1" >&2
    tail -n 20 "$room/manager.log" "$room/daemon.log" "$room/login" >&2
    exit 1
}

# Waits until a command succeeds, for a minute at most.
until_so() {
    tries=0
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "this never came true: $*"
        sleep 0.1
    done
}

# Checks that a command ends with a code and says something.
says() {
    code=$1 text=$2
    shift 2
    echo "\$ $*"
    "$@" >"$room/said" 2>&1 && said=0 || said=$?
    cat "$room/said"
    [ $said = "$code" ] || fail "it ended with $said, not $code"
    grep -qF -- "$text" "$room/said" || fail "it does not say: $text"
}

# One conversation; the answers are on standard output.
talk() {
    printf '%s\n' \
        '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"units","version":"1"}}}' \
        '{"jsonrpc":"2.0","method":"notifications/initialized"}' \
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}' |
        mcp-remote "http://127.0.0.1:$port/mcp"
}

show() {
    systemctl --user show --value --property="$1" mcp-remoted.service
}

# Installs the programs as another release.
release() {
    "$PYTHON" - "$room/bin" 0.1.0 "$1" <<'PYTHON'
import os
import sys

folder, built, other = sys.argv[1:]
for name in ("mcp-remote", "mcp-remoted"):
    path = os.path.join(folder, name)
    program = open(path, "rb").read().replace(built.encode(), other.encode())
    with open(path + ".new", "wb") as file:
        file.write(program)
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
PYTHON
}

# systemd asks whether the machine was booted with it, and keeps its units in cgroups.
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up 2>/dev/null || true
/lib/systemd/systemd --user --unit=basic.target --log-target=console >"$room/manager.log" 2>&1 </dev/null &
until_so test -S "$XDG_RUNTIME_DIR/systemd/private"
"$PYTHON" "$here/server.py" "$room/port" &
until_so test -s "$room/port"
port=$(cat "$room/port")

# There is no journal. What a user adds to a unit is left alone.
edits=$HOME/.config/systemd/user/mcp-remoted.service.d
mkdir -p "$edits"
printf '[Service]\nStandardError=append:%s\nEnvironment=MCP_REMOTE_LOG=debug\n' "$room/daemon.log" >"$edits/log.conf"

echo "== a daemon that a shim started makes place"
says 0 '"hello"' talk
says 0 'started by shim' mcp-remote status
says 0 'started by systemd' mcp-remote service install
says 0 'unchanged:' mcp-remote service install
says 0 '"hello"' talk
says 0 'enabled, active (running)' mcp-remote service status
[ "$(show NRestarts)" = 0 ] || fail "it was restarted"

echo "== restrictions and modes"
pid=$(show MainPID)
grep -q '^NoNewPrivs:.*1$' "/proc/$pid/status" || fail "it may gain privileges"
grep -q '^Seccomp:.*2$' "/proc/$pid/status" || fail "its system calls are not filtered"
socket=$XDG_RUNTIME_DIR/mcp-remote/daemon.sock
[ "$(stat -c %a "$socket")" = 600 ] || fail "the socket is open"
[ "$(stat -c %a "${socket%/*}")" = 700 ] || fail "its folder is open"

echo "== stopped, it is started by whoever connects, and by nobody who looks"
before=$(stat -c %i "$socket")
says 0 'has stopped' mcp-remote stop
says 3 'is not running' mcp-remote status
says 0 '"hello"' talk
[ "$(stat -c %i "$socket")" = "$before" ] || fail "the socket was replaced"

echo "== after a crash too"
kill -9 "$(show MainPID)"
says 0 '"hello"' talk
[ "$(show NRestarts)" = 1 ] || fail "it was not restarted"

echo "== a stopped service is started by its manager"
says 0 'has stopped' mcp-remote service stop
[ ! -e "$socket" ] || fail "the socket is left"
says 0 '"hello"' talk
says 0 'systemd user unit' mcp-remote status
says 0 'started by systemd' mcp-remote service restart

echo "== a browser that the daemon opens has a unit of its own"
# The shim cannot open it, the manager can.
cat >"$room/bin/browser" <<'BROWSER'
#!/bin/sh
grep -q '/run-.*\.service$' /proc/self/cgroup || exit 1
cat /proc/self/cgroup >"$HOME/opened"
printf '%s\n' "$1" "$DISPLAY" >>"$HOME/opened"
grep NoNewPrivs /proc/self/status >>"$HOME/opened"
sleep 1000 &
BROWSER
chmod +x "$room/bin/browser"
DISPLAY=:7 BROWSER=$room/bin/browser mcp-remote login "http://127.0.0.1:$port/private" </dev/null >"$room/login" 2>&1 &
until_so grep -q NoNewPrivs "$HOME/opened"
cat "$HOME/opened"
grep -q "^http://127.0.0.1:$port/authorize?.*code_challenge" "$HOME/opened" || fail "the URL is another"
grep -qx ':7' "$HOME/opened" || fail "the desktop is another"
grep -q '^NoNewPrivs:.*0$' "$HOME/opened" || fail "the browser has the restrictions of the daemon"
says 0 'has stopped' mcp-remote stop
pgrep -x sleep >/dev/null || fail "the browser ended with the daemon"

echo "== a newer release is started by the manager"
says 0 '"hello"' talk
restarts=$(show NRestarts)
release 0.9.9
says 0 '"hello"' talk
says 0 'daemon 0.9.9' mcp-remote status
[ "$(show NRestarts)" = $((restarts + 1)) ] || fail "it was started otherwise"
says 0 'systemd user unit' mcp-remote status
grep -q 'making place' "$room/daemon.log" || fail "nobody asked for the place"

echo "== crashing again and again, it stays down, and is not replaced"
printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >"$edits/crash.conf"
systemctl --user daemon-reload
mcp-remote stop >/dev/null
systemctl --user start mcp-remoted.service 2>/dev/null || true
until_so sh -c '[ "$(systemctl --user show --value --property=ActiveState mcp-remoted.service)" = failed ]'
says 1 'crash' mcp-remote service status
says 3 'mcp-remote service logs' talk
rm "$edits/crash.conf"
systemctl --user daemon-reload
says 0 'started by systemd' mcp-remote service restart
says 0 '"hello"' talk

echo "== removed, nothing is left of it"
says 0 'removed' mcp-remote service uninstall
says 0 'nothing to undo' mcp-remote service uninstall
left=$(find "$HOME/.config/systemd" -type f -o -type l)
[ "$left" = "$edits/log.conf" ] || fail "not what was left to its user: $left"
[ ! -e "$socket" ] || fail "the socket is left"
says 0 '"hello"' talk
says 0 'started by shim' mcp-remote status
says 0 'has stopped' mcp-remote stop
echo "all of it held"
