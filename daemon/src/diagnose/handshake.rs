//! What the server answers: to whoever has no token, and to a session of ours.

use std::time::Duration;

use super::{Asked, Check, Finding, Ready, Report, Served, Tools, Way, in_milliseconds};
use crate::oauth::token_source::TokenSource;
use crate::session::trial::{self, Trial};
use crate::session::{InitializeResult, ServerSpec};
use crate::upstream::{Refusal, TransportKind, UpstreamError};

/// How long all the attempts of one handshake may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Finds out which transport it speaks, and whether it wants a token.
pub(super) async fn without_token(way: &Way, tools: &Tools, report: &Report) -> Asked {
    let trial = match shake_hands(way, &way.spec, tools).await {
        Ok(trial) => trial,
        Err(finding) => {
            report.say(finding).await;
            return Asked::Nothing;
        }
    };
    let served = trial.outcome.is_ok();
    for (transport, error) in &trial.failed {
        let wants_token = wants_token(error).is_some();
        let found = format!("{}: it {error}", attempt(*transport));
        let finding = match (served, wants_token) {
            (true, _) => Finding::ok(Check::Transport, found),
            (false, true) => refused(way, *transport, wants_token_text(error)),
            (false, false) => Finding::failed(Check::Transport, found).advise(advice(error)),
        };
        report.say(finding.after(trial.took)).await;
    }
    let wanting = trial
        .failed
        .iter()
        .find_map(|(_, error)| wants_token(error));
    match (trial.outcome, wanting) {
        (Ok(result), _) => {
            let found = format!(
                "{} is used: initialize is answered {}",
                result.transport.as_str(),
                match way.spec.headers.authorize() {
                    true => "with the credentials of --header",
                    false => "without a token",
                }
            );
            let finding = Finding::ok(Check::Transport, found);
            report.say(finding.after(trial.took)).await;
            Asked::Served(Served {
                text: answered(&result, trial.took),
                took: trial.took,
            })
        }
        (Err(_), Some(refusal)) if !way.spec.headers.authorize() => {
            Asked::Refused(Box::new(refusal.challenge.clone()))
        }
        (Err(_), _) => Asked::Nothing,
    }
}

/// Shakes hands as a session would.
pub(super) async fn as_session(
    way: &Way,
    tools: &Tools,
    asked: &Asked,
    ready: Ready,
    report: &Report,
) {
    let finding = match (asked, ready) {
        (Asked::Nothing, _) => Finding::skipped(Check::Initialize, "it does not get so far"),
        (_, Ready::Needed) => Finding::skipped(Check::Initialize, "there is no token to send"),
        (Asked::Served(served), Ready::NotNeeded | Ready::Missing) => {
            Finding::ok(Check::Initialize, &*served.text).after(served.took)
        }
        (Asked::Refused(_), Ready::NotNeeded | Ready::Missing) => {
            Finding::skipped(Check::Initialize, "somebody has to sign in first")
        }
        (Asked::Served(_) | Asked::Refused(_), Ready::There(source)) => {
            with_token(way, tools, source).await
        }
    };
    report.say(finding).await;
}

async fn with_token(way: &Way, tools: &Tools, source: TokenSource) -> Finding {
    let before = source.status().borrow().last_refresh;
    let spec = ServerSpec {
        tokens: Some(source.clone()),
        ..way.spec.clone()
    };
    let trial = match shake_hands(way, &spec, tools).await {
        Ok(trial) => trial,
        Err(finding) => {
            return Finding {
                check: Check::Initialize,
                ..finding
            };
        }
    };
    let renewed = source.status().borrow().last_refresh != before;
    let account = way.identity.account();
    let login = match &account {
        Some(account) => format!("check the {account}"),
        None => format!("run {}", way.identity.login_command()),
    };
    let finding = match trial.outcome {
        Ok(result) => {
            let text = answered(&result, trial.took);
            let how = match renewed {
                true => "with a token that was renewed for it",
                false => "with the token",
            };
            Finding::ok(Check::Initialize, format!("{text}, {how}"))
        }
        Err(UpstreamError::Unauthorized(refusal)) if refusal.is_about_tokens() => {
            let found = format!(
                "it answered {}: the token is not accepted{}",
                refusal.status,
                said(&refusal)
            );
            let finding = Finding::failed(Check::Initialize, found).advise(login);
            match account {
                Some(_) => finding,
                None => finding.needs_login(),
            }
        }
        Err(error @ UpstreamError::NotSignedIn { .. }) => {
            Finding::failed(Check::Initialize, format!("it {error}")).advise(login)
        }
        Err(error) => {
            Finding::failed(Check::Initialize, format!("it {error}")).advise(advice(&error))
        }
    };
    finding.after(trial.took)
}

async fn shake_hands(way: &Way, spec: &ServerSpec, tools: &Tools) -> Result<Trial, Finding> {
    let server = tools.servers.stand_in(&spec.url, way.name.as_deref());
    let shaking = trial::shake_hands(&tools.clients, &server, spec, tools.max_message);
    tokio::time::timeout(PATIENCE, shaking).await.map_err(|_| {
        let found = format!("it took longer than {} s", PATIENCE.as_secs());
        Finding::failed(Check::Transport, found)
            .advise("try again, or ask whoever runs it")
            .after(PATIENCE)
    })
}

/// Names an attempt by its first request.
fn attempt(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::StreamableHttp => "POST initialize (streamable-http)",
        TransportKind::HttpSse => "GET (http+sse)",
    }
}

fn wants_token(error: &UpstreamError) -> Option<&Refusal> {
    match error {
        UpstreamError::Unauthorized(refusal) if refusal.is_about_tokens() => Some(refusal),
        _ => None,
    }
}

fn wants_token_text(error: &UpstreamError) -> (u16, String) {
    let Some(refusal) = wants_token(error) else {
        return (401, String::new());
    };
    let challenge = &refusal.challenge;
    let mut text = String::new();
    if let Some(url) = &challenge.resource_metadata {
        text += &format!(
            "; its metadata are said to be at {}",
            crate::server_url::shown(url)
        );
    }
    if let Some(scope) = &challenge.scope {
        text += &format!("; it asks for the scopes {scope}");
    }
    (refusal.status, text)
}

fn refused(way: &Way, transport: TransportKind, (status, more): (u16, String)) -> Finding {
    let attempt = attempt(transport);
    match way.spec.headers.authorize() {
        true => {
            let found = format!(
                "{attempt}: it answered {status}: the credentials of --header are not accepted"
            );
            Finding::failed(Check::Transport, found)
                .advise("give others with --header 'Authorization: ...', or none to sign in")
        }
        false => {
            let found = format!("{attempt}: it answered {status}, so it wants a token{more}");
            Finding::ok(Check::Transport, found)
        }
    }
}

fn said(refusal: &Refusal) -> String {
    let said = refusal.challenge.description.as_deref();
    said.map(|said| format!(" ({said})")).unwrap_or_default()
}

fn answered(result: &InitializeResult, took: Duration) -> String {
    let InitializeResult {
        server_name,
        server_version,
        version,
        transport,
        ..
    } = result;
    let (version, transport) = (version.as_str(), transport.as_str());
    let took = in_milliseconds(took);
    format!("{server_name} {server_version} answered in {took} ({transport}, {version})")
}

/// Says what to do, where the error does not.
fn advice(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Status {
            status: 404 | 405, ..
        }
        | UpstreamError::NotMcp { .. } => {
            "check the path of the URL: MCP servers usually end in /mcp or /sse"
        }
        UpstreamError::JsonRpc { .. } | UpstreamError::Protocol(_) => {
            "ask whoever runs it: this is not how an MCP server answers"
        }
        UpstreamError::Status { status: 500.., .. }
        | UpstreamError::TimedOut(_)
        | UpstreamError::Busy { .. } => "try again later, or ask whoever runs it",
        UpstreamError::Unauthorized(_) | UpstreamError::NotSignedIn { .. } => {
            "ask whoever runs it who may use it"
        }
        UpstreamError::Unreachable(_) | UpstreamError::Interrupted(_) => {
            "check the server and whatever is between"
        }
        _ => "",
    }
}
