//! The names of servers and of commands, which stand in the same place of a command
//! line: no name is a command's, and none can be taken for a URL or a port.

/// The commands of `mcp-remote`, those of later releases too as far as they are
/// known: a server that has such a name could not be spoken to any more.
pub const COMMANDS: &[&str] = &[
    "add",
    "adopt",
    "call",
    "check",
    "completions",
    "doctor",
    "handover",
    "help",
    "list",
    "log-level",
    "login",
    "logout",
    "logs",
    "man",
    "reload",
    "remove",
    "restart",
    "service",
    "socket",
    "start",
    "status",
    "stop",
    "tools",
    "version",
    "watch",
];

/// Longest name, in bytes.
const MAX_LEN: usize = 64;

/// Why a text cannot be the name of a server. Completes "NAME …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// It would be taken for a URL.
    Url,
    /// It is a command.
    Command,
    /// It has other characters, or too many.
    Characters,
}

impl std::fmt::Display for BadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Url => "looks like a URL: give the server a short name, and its URL as `url`",
            Self::Command => "is a command of mcp-remote: choose another name",
            Self::Characters => {
                "is not a name: it begins with a letter, and goes on with letters, digits, '.', '_' and '-' (64 at most)"
            }
        })
    }
}

/// Checks that a server may have this name.
///
/// # Errors
/// Why not.
pub fn check(name: &str) -> Result<(), BadName> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.contains("://") {
        Err(BadName::Url)
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic())
        || !name.bytes().all(inner)
        || name.len() > MAX_LEN
    {
        Err(BadName::Characters)
    } else if COMMANDS.contains(&name) {
        Err(BadName::Command)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_url_no_command_and_no_port() {
        for (name, expected) in [
            ("github", Ok(())),
            ("my-team.v2_x", Ok(())),
            ("GitHub", Ok(())),
            ("https://h/mcp", Err(BadName::Url)),
            ("status", Err(BadName::Command)),
            ("reload", Err(BadName::Command)),
            ("9696", Err(BadName::Characters)),
            ("1password", Err(BadName::Characters)),
            ("-x", Err(BadName::Characters)),
            ("", Err(BadName::Characters)),
            ("a b", Err(BadName::Characters)),
            ("a/b", Err(BadName::Characters)),
            ("h:8080", Err(BadName::Characters)),
            ("é", Err(BadName::Characters)),
        ] {
            assert_eq!(check(name), expected, "{name:?}");
        }
        assert_eq!(check(&"a".repeat(65)), Err(BadName::Characters));
    }

    #[test]
    fn commands_are_sorted() {
        assert!(COMMANDS.is_sorted());
    }
}
