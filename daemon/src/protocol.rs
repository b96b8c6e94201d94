//! The revisions of MCP, and what differs between them. No I/O.
//!
//! All of these are opened by `initialize`; revision 2026-07-28 is not, and gets
//! its variant together with its handshake.

/// A revision that the daemon speaks to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ProtocolVersion {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches.
    V2025_03_26,
    /// 2025-06-18: the version header, no batches.
    V2025_06_18,
    /// 2025-11-25: polling streams, tasks.
    V2025_11_25,
}

impl ProtocolVersion {
    /// The newest revision that is opened by `initialize`.
    pub(crate) const LATEST: Self = Self::V2025_11_25;

    /// Every revision, oldest first.
    const ALL: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// Reads a `protocolVersion`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// Returns the `protocolVersion` text.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Says whether requests after the handshake carry `MCP-Protocol-Version`
    /// (2025-06-18, Transports > Protocol Version Header).
    pub(crate) fn has_version_header(self) -> bool {
        self >= Self::V2025_06_18
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_back_and_only_known_ones_are_read() {
        for version in ProtocolVersion::ALL {
            assert_eq!(ProtocolVersion::parse(version.as_str()), Some(version));
        }
        assert_eq!(ProtocolVersion::parse("2026-07-28"), None);
        assert!(!ProtocolVersion::V2025_03_26.has_version_header());
        assert!(ProtocolVersion::V2025_06_18.has_version_header());
    }
}
