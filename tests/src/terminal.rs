//! A terminal that a program under test believes in: its size can be changed, what
//! is drawn is kept, keys can be pressed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::monitor::Monitor;
use crate::process::{Captured, Program, capture};

/// A terminal and the program in it.
#[derive(Debug)]
pub struct TestTerminal {
    controller: OwnedFd,
    drawn: Arc<Monitor<Captured>>,
    program: Program,
}

impl TestTerminal {
    /// Runs a prepared command in a terminal of this size, which is its controlling
    /// terminal: Ctrl-C and changes of size reach it as signals.
    ///
    /// # Panics
    /// If there is no terminal to be had.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).expect("granted");
        unlockpt(&controller).expect("unlocked");
        let name = ptsname(&controller, Vec::new()).expect("a name");
        let name = name.to_str().expect("UTF-8").to_owned();
        let open = || {
            let terminal = File::options().read(true).write(true).open(&name);
            terminal.expect("it opens")
        };
        resize(&controller, columns, rows);
        let mut in_terminal = Command::new("/usr/bin/setsid");
        in_terminal
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .arg0("setsid");
        for (name, value) in command.get_envs() {
            in_terminal.env(name, value.unwrap_or_default());
        }
        let (program, _, _) = Program::start(&mut in_terminal);
        // The command holds the terminal's other end.
        drop(in_terminal);
        let reader = controller.try_clone().expect("it can be cloned");
        Self {
            controller,
            drawn: capture(File::from(reader)),
            program,
        }
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.controller, columns, rows);
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If the terminal has gone.
    pub fn press(&self, keys: &[u8]) {
        rustix::io::write(&self.controller, keys).expect("the terminal takes keys");
    }

    /// Forgets what was drawn so far.
    pub fn forget(&self) {
        self.drawn.update(|drawn| drawn.bytes.clear());
    }

    /// Waits until everything drawn since then satisfies `ready`.
    ///
    /// # Panics
    /// If it never does.
    pub fn wait_for<T>(&self, what: &str, ready: impl Fn(&str) -> Option<T>) -> T {
        self.drawn
            .expect(what, |drawn| ready(&String::from_utf8_lossy(&drawn.bytes)))
    }

    /// Waits until this text was drawn.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |drawn| drawn.contains(text).then_some(()));
    }

    /// Returns everything drawn.
    pub fn drawn(&self) -> String {
        self.drawn
            .look(|drawn| String::from_utf8_lossy(&drawn.bytes).into_owned())
    }

    /// Says whether keys are shown and lines are edited, as a shell wants it.
    ///
    /// # Panics
    /// If the terminal has gone.
    pub fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.controller)
            .expect("it has modes")
            .local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits until the program has stopped, as Ctrl-Z makes it.
    pub fn wait_until_stopped(&self) {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let pid = self.pid().try_into().ok().and_then(Pid::from_raw);
        let child = WaitId::Pid(pid.expect("a process id"));
        // Told and not taken: the program is waited for elsewhere.
        let stopped = waitid(child, WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT);
        stopped.expect("it is a child of ours");
    }

    /// Waits for the program's end; returns its exit code.
    pub fn wait(&self) -> i32 {
        self.program.wait()
    }

    /// Returns the program's process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

fn resize(controller: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(controller, size).expect("a terminal has a size");
}
