//! The levels of log messages, which can be compared. Pure.

use serde::Deserialize;

use crate::jsonrpc::Envelope;

/// A log level, most verbose first (2025-11-25, Logging > Log Levels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// `debug`.
    Debug,
    /// `info`.
    Info,
    /// `notice`.
    Notice,
    /// `warning`.
    Warning,
    /// `error`.
    Error,
    /// `critical`.
    Critical,
    /// `alert`.
    Alert,
    /// `emergency`.
    Emergency,
}

impl Level {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Alert, "alert"),
        (Self::Emergency, "emergency"),
    ];

    /// What a member wants that never said, once another has: servers that have
    /// not been told may choose, and this is what most of them do.
    pub(super) const UNSAID: Self = Self::Info;

    fn parse(text: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|(_, name)| *name == text);
        known.map(|(level, _)| level)
    }

    /// Returns its name.
    pub(super) fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Reads `params.level` of a request to set it, or of a message.
    pub(crate) fn of(message: &Envelope) -> Option<Self> {
        #[derive(Deserialize)]
        struct Params {
            level: String,
        }
        Self::parse(&message.params::<Params>()?.level)
    }
}
