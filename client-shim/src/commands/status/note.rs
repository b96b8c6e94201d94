//! What to do about a server: the command that mends it, or why it mends itself and
//! when. One answer, for the table and for programs.

use mcp_remote_proto::v1::{AuthState, ServerState, ServerStatus};

use crate::terminal::plain;

use super::table::duration;

/// What somebody should do, as a word of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Nothing: it is tried again at the next request.
    Retry,
    /// Nothing: it is tried again by itself.
    Wait,
    /// Change the configuration.
    Enable,
    /// Change what is said to be wrong.
    Mend,
    /// Finish the sign-in that is under way.
    FinishSignIn,
    /// Sign in.
    Login,
}

/// What to say of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// What to do.
    pub(super) action: Action,
    /// The command that does it; empty: none.
    pub(super) command: String,
    /// One sentence without its full stop; empty: nothing.
    pub(super) text: String,
}

impl Action {
    /// Returns its word in the JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Retry => "retry",
            Self::Wait => "wait",
            Self::Enable => "enable",
            Self::Mend => "mend",
            Self::FinishSignIn => "finish-sign-in",
            Self::Login => "login",
        }
    }
}

/// Says whether somebody has to do something about it.
pub(super) fn needs_somebody(server: &ServerStatus) -> bool {
    server.state() == ServerState::NeedsLogin || server.to_be_mended
}

/// Says whether it is tried again, and nobody has to do anything.
pub(super) fn is_retried(server: &ServerStatus) -> bool {
    let fails = [ServerState::BackingOff, ServerState::SessionLost].contains(&server.state());
    fails && !server.to_be_mended
}

/// Returns how a server is named on a command line.
pub(super) fn name(server: &ServerStatus) -> String {
    plain(server.names.first().unwrap_or(&server.url))
}

/// Returns all that a server is called.
pub(super) fn names(server: &ServerStatus) -> String {
    match server.names.as_slice() {
        [] => plain(&server.url),
        names => plain(&names.join(", ")),
    }
}

/// Says what to do about a server.
pub(super) fn of(server: &ServerStatus, now: u64) -> Note {
    let error = plain(&server.last_error);
    let (action, text) = match server.state() {
        ServerState::NeedsLogin => return sign_in(server),
        ServerState::Disabled if error.is_empty() => (
            Action::Enable,
            "switched off by enabled = false in config.toml".to_owned(),
        ),
        ServerState::Disabled => (Action::Enable, error),
        ServerState::BackingOff => match server.next_attempt_unix_ms.checked_sub(now) {
            Some(left) if server.next_attempt_unix_ms > 0 => (
                Action::Wait,
                format!("{error}; next try in {}", duration(left)),
            ),
            _ => (
                Action::Retry,
                format!("{error}; tried again at the next request"),
            ),
        },
        ServerState::SessionLost => (
            Action::Retry,
            format!("{error}; made again at the next request"),
        ),
        ServerState::Unspecified
        | ServerState::Ready
        | ServerState::Connecting
        | ServerState::Idle => (Action::None, String::new()),
    };
    let (action, text) = match (server.to_be_mended, server.last_error.is_empty()) {
        (false, _) => (action, text),
        (true, false) => (Action::Mend, plain(&server.last_error)),
        (true, true) => (Action::Mend, "see below".to_owned()),
    };
    Note {
        action,
        command: String::new(),
        text: text.trim_start_matches("; ").to_owned(),
    }
}

fn sign_in(server: &ServerStatus) -> Note {
    let command = login(server);
    let pending = |state| state == AuthState::SigningIn;
    match server.auth.iter().any(|grant| pending(grant.state())) {
        true => Note {
            action: Action::FinishSignIn,
            text: format!("visit the URL below, or run: {command}"),
            command,
        },
        false => Note {
            action: Action::Login,
            text: format!("run: {command}"),
            command,
        },
    }
}

/// Returns the command that signs in. What is configured under a name needs no flags.
fn login(server: &ServerStatus) -> String {
    let wanted = |state| matches!(state, AuthState::SigningIn | AuthState::NeedsLogin);
    let grant = server.auth.iter().find(|grant| wanted(grant.state()));
    match grant.filter(|grant| server.names.is_empty() && !grant.login.is_empty()) {
        Some(grant) => plain(&grant.login),
        None => format!("mcp-remote login {}", name(server)),
    }
}

#[cfg(test)]
mod tests {
    use mcp_remote_proto::v1::AuthStatus;

    use super::*;

    fn note(state: ServerState, change: impl FnOnce(&mut ServerStatus)) -> Note {
        let mut server = ServerStatus {
            url: "https://h/mcp".into(),
            state: state.into(),
            last_error: "refused\u{1b}".into(),
            ..ServerStatus::default()
        };
        change(&mut server);
        of(&server, 1000)
    }

    #[test]
    fn each_state_has_its_advice() {
        for (state, action, text) in [
            (ServerState::Ready, Action::None, ""),
            (ServerState::Connecting, Action::None, ""),
            (ServerState::Idle, Action::None, ""),
            (
                ServerState::BackingOff,
                Action::Retry,
                "refused ; tried again at the next request",
            ),
            (
                ServerState::SessionLost,
                Action::Retry,
                "refused ; made again at the next request",
            ),
            (ServerState::Disabled, Action::Enable, "refused "),
            (
                ServerState::NeedsLogin,
                Action::Login,
                "run: mcp-remote login https://h/mcp",
            ),
        ] {
            let note = note(state, |_| ());
            assert_eq!((note.action, note.text.as_str()), (action, text));
        }
    }

    #[test]
    fn what_somebody_has_to_mend_is_not_just_tried_again() {
        let note = note(ServerState::BackingOff, |server| {
            server.to_be_mended = true;
            assert!(needs_somebody(server) && !is_retried(server));
        });
        assert_eq!((note.action, note.action.word()), (Action::Mend, "mend"));
    }

    #[test]
    fn what_the_configuration_switches_off_is_said_so_and_names_are_used() {
        let off = note(ServerState::Disabled, |server| server.last_error.clear());
        assert_eq!(off.text, "switched off by enabled = false in config.toml");
        let named = note(ServerState::NeedsLogin, |server| {
            server.names = vec!["hub".into(), "other".into()];
        });
        assert_eq!(named.command, "mcp-remote login hub");
    }

    #[test]
    fn the_command_that_signs_in_has_the_flags_that_decide_who_it_is() {
        let flags = "mcp-remote login https://h/mcp --resource ...";
        let with = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            note(ServerState::NeedsLogin, |server| {
                server.names = names;
                server.auth.push(AuthStatus {
                    state: AuthState::NeedsLogin.into(),
                    login: flags.into(),
                    ..AuthStatus::default()
                });
            })
        };
        assert_eq!(with(&[]).command, flags);
        assert_eq!(with(&["hub"]).command, "mcp-remote login hub");
    }

    #[test]
    fn a_wait_says_for_how_long_and_a_sign_in_under_way_where_to() {
        let waiting = note(ServerState::BackingOff, |server| {
            server.next_attempt_unix_ms = 39_500;
        });
        assert_eq!(waiting.text, "refused ; next try in 38s");
        assert_eq!(waiting.action, Action::Wait);
        let pending = note(ServerState::NeedsLogin, |server| {
            server.auth.push(AuthStatus {
                state: AuthState::SigningIn.into(),
                ..AuthStatus::default()
            });
        });
        assert_eq!(pending.action, Action::FinishSignIn);
        assert_eq!(pending.command, "mcp-remote login https://h/mcp");
    }
}
