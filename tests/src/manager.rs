//! A `systemctl` that a test plays: first on the path of a home, it notes what it is
//! told, fails where the test wants, and starts the daemon as systemd would.
//!
//! It is a script, since the shim starts it; its files lie in one folder.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::home::TestHome;
use crate::process::binary;

/// `start` and `restart` end what runs and wait until the new one listens.
const SCRIPT: &str = r#"#!/bin/sh
folder=${0%/*}
printf '%s\n' "$*" >>"$folder/told"
while read -r words; do
    case " $* " in *" $words "*) echo "Failed to do so: told to fail." >&2; exit 1 ;; esac
done <"$folder/fails"
case "$2" in
show) cat "$folder/shows" ;;
start | restart)
    daemon=$(cat "$folder/daemon")
    [ -n "$daemon" ] || exit 0
    # One that has ended and is not reaped yet has no program any more.
    if [ -e "/proc/$(cat "$folder/pid")/exe" ]; then
        [ "$2" = restart ] || exit 0
        kill "$(cat "$folder/pid")"
    fi
    socket=$XDG_RUNTIME_DIR/mcp-remote/daemon.sock
    NOTIFY_SOCKET=$folder/nobody "$daemon" </dev/null >/dev/null 2>"$folder/log" &
    echo $! >"$folder/pid"
    until [ "$(cat "$HOME/.local/state/mcp-remote/lock")" = $! ] && [ -S "$socket" ]; do
        sleep 0.01
        kill -0 $! || exit 1
    done
    ;;
esac
"#;

/// The folder of a fake `systemctl`.
#[derive(Debug)]
pub struct FakeManager {
    folder: PathBuf,
}

impl FakeManager {
    /// Puts it first on the path of `home`; it takes every order and does nothing.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new(home: &mut TestHome) -> Self {
        let folder = home.folder().join("manager");
        std::fs::create_dir(&folder).expect("a folder can be made");
        home.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        let manager = Self { folder };
        for file in ["told", "fails", "shows", "daemon", "pid"] {
            manager.write(file, "");
        }
        let script = manager.folder.join("systemctl");
        // Not by this process: a child forked meanwhile would hold the file open for
        // writing, and it could not be executed.
        manager.write("script", SCRIPT);
        let copied = std::process::Command::new("cp")
            .args([&manager.folder.join("script"), &script])
            .status();
        assert!(copied.expect("there is cp").success());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("its mode can be set");
        manager
    }

    /// Has it start the daemon when it is told to.
    pub fn starts_daemon(&self) {
        let daemon = binary("mcp-remoted");
        self.write("daemon", daemon.to_str().expect("UTF-8"));
    }

    /// Has it start this program as the daemon when it is told to.
    pub fn starts(&self, daemon: &Path) {
        self.write("daemon", daemon.to_str().expect("UTF-8"));
    }

    /// Has it fail when it is told these words; none: it does as it is told.
    pub fn fails_at(&self, words: &[&str]) {
        let lines: String = words.iter().map(|words| format!("{words}\n")).collect();
        self.write("fails", &lines);
    }

    /// Has it show this of units.
    pub fn shows(&self, text: &str) {
        self.write("shows", text);
    }

    /// Returns what it was told so far, one line an order, and forgets it.
    ///
    /// # Panics
    /// If its file has gone.
    pub fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("told")).expect("it is there");
        self.write("told", "");
        let words = |line: &str| line.trim_start_matches("--user ").to_owned();
        text.lines().map(words).collect()
    }

    /// Returns what the daemon that it started has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("the file can be written");
    }
}
