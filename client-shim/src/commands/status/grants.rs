//! Who is signed in, in words: a cell of the table, and a line below it for each
//! grant.

use mcp_remote_proto::v1::{AuthState, AuthStatus, ServerState, ServerStatus};

use crate::terminal::plain;

use super::document::auth_word;
use super::note;
use super::table::duration;

/// Writes the cell of a server: the grant that needs somebody most.
pub(super) fn cell(grants: &[AuthStatus], now: u64) -> String {
    let urgency = |grant: &&AuthStatus| match grant.state() {
        AuthState::NeedsLogin | AuthState::Failed => 0,
        AuthState::SigningIn => 1,
        AuthState::Expired => 2,
        AuthState::SignedIn => 3,
        AuthState::Unspecified => 4,
    };
    let Some(grant) = grants.iter().min_by_key(urgency) else {
        return "-".to_owned();
    };
    let word = match grant.state() {
        // Nobody has signed in.
        AuthState::SignedIn if !grant.account.is_empty() => "token",
        state => auth_word(state),
    };
    match grant.expires_at_unix_ms.checked_sub(now) {
        Some(left) if left > 0 && grant.state() == AuthState::SignedIn => {
            format!("{word} {}", duration(left))
        }
        _ => word.to_owned(),
    }
}

/// Writes what there is to know of a server's grants, below the table. A server that
/// wants somebody to sign in and has none says so itself.
pub(super) fn lines(server: &ServerStatus, now: u64) -> String {
    let name = note::name(server);
    if server.auth.is_empty() && server.state() == ServerState::NeedsLogin {
        return match server.last_error.is_empty() {
            true => String::new(),
            false => format!("{name} {}\n", plain(&server.last_error)),
        };
    }
    let grants = server.auth.iter();
    grants.map(|grant| line(&name, grant, now)).collect()
}

/// Writes the line of a grant.
fn line(server: &str, grant: &AuthStatus, now: u64) -> String {
    let mut line = match grant.state() {
        AuthState::SignedIn | AuthState::Expired => {
            let mut line = match (grant.account.as_str(), grant.issuer.as_str()) {
                ("", issuer) => format!("{server} is signed in at {}", plain(issuer)),
                (account, "") => format!("{server} uses {}", plain(account)),
                (account, issuer) => {
                    format!("{server} uses {} at {}", plain(account), plain(issuer))
                }
            };
            if !grant.folder.is_empty() {
                line.push_str(&format!(" with tokens in {}", plain(&grant.folder)));
            }
            if !grant.scopes.is_empty() {
                line.push_str(&format!(" ({})", plain(&grant.scopes)));
            }
            line + &times(grant, now)
        }
        AuthState::Failed => {
            format!("{server} has no token from {}", plain(&grant.account))
        }
        AuthState::SigningIn if grant.sign_in_url.is_empty() => {
            format!("{server} is about to wait for a sign-in")
        }
        AuthState::SigningIn => {
            let url = plain(&grant.sign_in_url);
            let mut line = format!("{server} waits for a sign-in at {url}");
            if !grant.user_code.is_empty() {
                let (code, page) = (plain(&grant.user_code), plain(&grant.verification_uri));
                line.push_str(&format!(" with the code {code}"));
                if page != url {
                    line.push_str(&format!(", to be entered at {page} if it is asked for"));
                }
            }
            line
        }
        AuthState::NeedsLogin | AuthState::Unspecified => {
            // Older daemons name none.
            let login = match grant.login.as_str() {
                "" => format!("mcp-remote login {server}"),
                login => plain(login),
            };
            format!("{server} needs a sign-in: run {login}")
        }
    };
    if !grant.last_error.is_empty() {
        line.push_str(&format!("; {}", plain(&grant.last_error)));
    }
    line + "\n"
}

fn times(grant: &AuthStatus, now: u64) -> String {
    let mut times = Vec::new();
    match grant.expires_at_unix_ms {
        0 => {}
        at if at <= now => times.push("the token has expired".to_owned()),
        at => times.push(format!("the token expires in {}", duration(at - now))),
    }
    match grant.last_refresh_unix_ms {
        0 => {}
        at => times.push(format!(
            "was refreshed {} ago",
            duration(now.saturating_sub(at))
        )),
    }
    match grant.next_refresh_unix_ms {
        0 => {}
        at => {
            // Of what there was already is said above.
            let again = if grant.last_refresh_unix_ms == 0 {
                "refreshed "
            } else {
                ""
            };
            let left = duration(at.saturating_sub(now));
            times.push(format!("will be {again}in {left}"));
        }
    }
    match times.is_empty() {
        true => String::new(),
        false => format!("; {}", times.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000;

    fn signed_in() -> AuthStatus {
        AuthStatus {
            state: AuthState::SignedIn.into(),
            issuer: "https://as".into(),
            scopes: "read write".into(),
            expires_at_unix_ms: NOW + 2_520_000,
            last_refresh_unix_ms: NOW - 1_080_000,
            next_refresh_unix_ms: NOW + 1_860_000,
            ..AuthStatus::default()
        }
    }

    fn pending() -> AuthStatus {
        AuthStatus {
            state: AuthState::SigningIn.into(),
            sign_in_url: "https://as/authorize?x".into(),
            ..AuthStatus::default()
        }
    }

    #[test]
    fn a_cell_counts_down_and_shows_what_is_urgent() {
        assert_eq!(cell(&[], NOW), "-");
        assert_eq!(cell(&[signed_in()], NOW), "signed-in 42m00s");
        assert_eq!(cell(&[signed_in(), pending()], NOW), "signing-in");
        assert_eq!(cell(&[signed_in()], u64::MAX), "signed-in");
    }

    #[test]
    fn a_line_tells_grants_of_other_folders_apart() {
        let elsewhere = AuthStatus {
            folder: "/srv/auth".into(),
            scopes: String::new(),
            ..signed_in()
        };
        let line = line("https://h/mcp", &elsewhere, NOW);
        let start = "https://h/mcp is signed in at https://as with tokens in /srv/auth; ";
        assert!(line.starts_with(start), "{line}");
    }

    #[test]
    fn where_nobody_signs_in_it_is_said_whose_token_it_is() {
        let service = AuthStatus {
            account: "service account ci-bot".into(),
            ..signed_in()
        };
        assert_eq!(cell(std::slice::from_ref(&service), NOW), "token 42m00s");
        let start = "https://h/mcp uses service account ci-bot at https://as (read write); the token expires in 42m00s";
        let said = line("https://h/mcp", &service, NOW);
        assert!(said.starts_with(start), "{said}");
        let file = AuthStatus {
            state: AuthState::SignedIn.into(),
            account: "token file /t".into(),
            ..AuthStatus::default()
        };
        assert_eq!(line("h", &file, NOW), "h uses token file /t\n");
        let failed = AuthStatus {
            state: AuthState::Failed.into(),
            last_error: "it is empty".into(),
            ..file
        };
        assert_eq!(cell(std::slice::from_ref(&failed), NOW), "no-token");
        let said = line("h", &failed, NOW);
        assert_eq!(said, "h has no token from token file /t; it is empty\n");
    }

    #[test]
    fn a_line_says_who_until_when() {
        assert_eq!(
            line("https://h/mcp", &signed_in(), NOW),
            "https://h/mcp is signed in at https://as (read write); the token expires in 42m00s, \
             was refreshed 18m00s ago, will be in 31m00s\n"
        );
        assert_eq!(
            line("https://h/mcp", &pending(), NOW),
            "https://h/mcp waits for a sign-in at https://as/authorize?x\n"
        );
        let by_code = AuthStatus {
            user_code: "WDJB-MJHT".into(),
            verification_uri: "https://as/device".into(),
            ..pending()
        };
        assert_eq!(
            line("https://h/mcp", &by_code, NOW),
            "https://h/mcp waits for a sign-in at https://as/authorize?x with the code WDJB-MJHT, \
             to be entered at https://as/device if it is asked for\n"
        );
        let lost = AuthStatus {
            state: AuthState::NeedsLogin.into(),
            login: "mcp-remote login https://h/mcp --header ...".into(),
            last_error: "the grant was revoked".into(),
            ..AuthStatus::default()
        };
        assert_eq!(
            line("https://h/mcp", &lost, NOW),
            "https://h/mcp needs a sign-in: run mcp-remote login https://h/mcp --header ...; the grant was revoked\n"
        );
    }
}
