//! How the process ends: exit codes, and the error that a person reads.
//!
//! The numbers are a promise to scripts and never change meaning.

use std::process::ExitCode;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Done.
    pub(crate) const OK: Self = Self(0);
    /// Something failed.
    pub(crate) const ERROR: Self = Self(1);
    /// The command line makes no sense.
    pub(crate) const USAGE: Self = Self(2);
    /// No daemon runs, or none can be started.
    pub(crate) const NOT_RUNNING: Self = Self(3);
    /// Shim and daemon do not understand each other.
    pub(crate) const VERSION_MISMATCH: Self = Self(4);
    /// A folder that others could enter.
    pub(crate) const UNSAFE_FOLDER: Self = Self(5);
    /// Something is being tried again.
    pub(crate) const RETRYING: Self = Self(10);
    /// Somebody has to sign in or act.
    pub(crate) const NEEDS_LOGIN: Self = Self(11);
    /// SIGINT.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// SIGTERM.
    pub(crate) const TERMINATED: Self = Self(143);

    /// What the code that a daemon reported when it could not start means here.
    pub(crate) fn reported(code: u8) -> Self {
        match Self(code) {
            known @ (Self::VERSION_MISMATCH | Self::UNSAFE_FOLDER) => known,
            _ => Self::NOT_RUNNING,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}

/// Why the shim gives up: an exit code and one sentence for the user, which
/// says what happened and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShimError {
    /// How the process ends if nobody recovers.
    pub(crate) exit: Exit,
    /// For standard error, or for the message of a JSON-RPC error.
    pub(crate) sentence: String,
}

impl ShimError {
    /// A failure with its own exit code.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
        }
    }

    /// The same failure with another exit code.
    pub(crate) fn with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// A failure that no script needs to tell from others.
    pub(crate) fn general(sentence: impl Into<String>) -> Self {
        Self::new(Exit::ERROR, sentence)
    }
}

impl std::fmt::Display for ShimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}
