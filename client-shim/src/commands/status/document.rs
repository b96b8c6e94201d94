//! The shape of `status --json`: one line, the fields of StatusResponse in snake
//! case, a server's state as a word.
//!
//! A promise to scripts: fields are added, never renamed or removed.

use mcp_remote_proto::v1::{AuthState, AuthStatus, ServerState, ServerStatus, StatusResponse};

use crate::json::{self, Object};

use super::note::{self, Action};

/// Writes the document.
pub(super) fn document(status: &StatusResponse, now: u64) -> String {
    let actions = status.servers.iter().map(|one| note::of(one, now).action);
    let action = actions.max().unwrap_or(Action::None);
    let document = Object::new()
        .raw("running", "true")
        .string("version", &status.version)
        .number("pid", status.pid.into())
        .number("uptime_ms", status.uptime_ms)
        .string("started_by", &status.started_by)
        .string("socket", &status.socket)
        .number("shims", status.shims.into())
        .raw(
            "servers",
            &json::array(status.servers.iter().map(|one| server(one, now))),
        )
        .raw(
            "health",
            &json::array(status.health.iter().map(|sentence| json::string(sentence))),
        )
        .string("action", action.word());
    document.end() + "\n"
}

fn server(server: &ServerStatus, now: u64) -> String {
    let note = note::of(server, now);
    Object::new()
        .string("url", &server.url)
        .string("state", word(server.state()))
        .string("protocol_version", &server.protocol_version)
        .string("transport", &server.transport)
        .string("server_name", &server.server_name)
        .string("server_version", &server.server_version)
        .number("sessions_idle", server.sessions_idle.into())
        .number("sessions_leased", server.sessions_leased.into())
        .number("shims", server.shims.into())
        .number("calls", server.calls)
        .number("errors", server.errors)
        .optional_number("p50_us", server.p50_us)
        .optional_number("p99_us", server.p99_us)
        .string("last_error", &server.last_error)
        .number("last_used_unix_ms", server.last_used_unix_ms)
        .raw("auth", &json::array(server.auth.iter().map(grant)))
        .optional_number("tools_known", server.tools_known.map(u64::from))
        .number("next_attempt_unix_ms", server.next_attempt_unix_ms)
        .string("action", note.action.word())
        .string("command", &note.command)
        .string("note", &note.text)
        .raw(
            "names",
            &json::array(server.names.iter().map(|name| json::string(name))),
        )
        .end()
}

fn grant(grant: &AuthStatus) -> String {
    Object::new()
        .string("state", auth_word(grant.state()))
        .string("issuer", &grant.issuer)
        .string("scopes", &grant.scopes)
        .number("expires_at_unix_ms", grant.expires_at_unix_ms)
        .number("last_refresh_unix_ms", grant.last_refresh_unix_ms)
        .number("next_refresh_unix_ms", grant.next_refresh_unix_ms)
        .string("sign_in_url", &grant.sign_in_url)
        .string("identity", &grant.identity)
        .string("last_error", &grant.last_error)
        .string("folder", &grant.folder)
        .string("login", &grant.login)
        .string("user_code", &grant.user_code)
        .string("verification_uri", &grant.verification_uri)
        .string("account", &grant.account)
        .end()
}

/// The state of a grant, here and in the table.
pub(super) fn auth_word(state: AuthState) -> &'static str {
    match state {
        AuthState::Unspecified => "unknown",
        AuthState::SignedIn => "signed-in",
        AuthState::Expired => "expired",
        AuthState::SigningIn => "signing-in",
        AuthState::NeedsLogin => "needs-login",
        AuthState::Failed => "no-token",
    }
}

/// The state's name, here and in the table.
pub(super) fn word(state: ServerState) -> &'static str {
    match state {
        ServerState::Unspecified => "unknown",
        ServerState::Ready => "ready",
        ServerState::Connecting => "connecting",
        ServerState::Idle => "idle",
        ServerState::BackingOff => "backing-off",
        ServerState::NeedsLogin => "needs-login",
        ServerState::SessionLost => "session-lost",
        ServerState::Disabled => "disabled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_stable() {
        let status = StatusResponse {
            version: "0.1.0".into(),
            pid: 7,
            uptime_ms: 1500,
            started_by: "shim".into(),
            socket: "/run/s".into(),
            servers: vec![ServerStatus {
                url: "https://h/mcp".into(),
                state: ServerState::BackingOff.into(),
                p50_us: Some(850),
                last_error: "said \"no\"".into(),
                auth: vec![AuthStatus {
                    state: AuthState::SignedIn.into(),
                    issuer: "https://as".into(),
                    expires_at_unix_ms: 9,
                    ..AuthStatus::default()
                }],
                ..ServerStatus::default()
            }],
            shims: 1,
            health: vec!["disk full".into()],
        };
        assert_eq!(
            document(&status, 0),
            "{\"running\":true,\"version\":\"0.1.0\",\"pid\":7,\"uptime_ms\":1500,\
             \"started_by\":\"shim\",\"socket\":\"/run/s\",\"shims\":1,\"servers\":[\
             {\"url\":\"https://h/mcp\",\"state\":\"backing-off\",\"protocol_version\":\"\",\
             \"transport\":\"\",\"server_name\":\"\",\"server_version\":\"\",\"sessions_idle\":0,\
             \"sessions_leased\":0,\"shims\":0,\"calls\":0,\"errors\":0,\"p50_us\":850,\
             \"p99_us\":null,\"last_error\":\"said \\\"no\\\"\",\"last_used_unix_ms\":0,\
             \"auth\":[{\"state\":\"signed-in\",\"issuer\":\"https://as\",\"scopes\":\"\",\
             \"expires_at_unix_ms\":9,\"last_refresh_unix_ms\":0,\"next_refresh_unix_ms\":0,\
             \"sign_in_url\":\"\",\"identity\":\"\",\"last_error\":\"\",\"folder\":\"\",\"login\":\"\",\"user_code\":\"\",\
             \"verification_uri\":\"\",\"account\":\"\"}],\
             \"tools_known\":null,\
             \"next_attempt_unix_ms\":0,\"action\":\"retry\",\"command\":\"\",\
             \"note\":\"said \\\"no\\\"; tried again at the next request\",\"names\":[]}],\
             \"health\":[\"disk full\"],\"action\":\"retry\"}\n"
        );
    }
}
