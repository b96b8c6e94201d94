//! `Diagnose`: the way to a server, walked for whoever asks. Ends with the caller or
//! the daemon.

use futures_util::stream::{Stream, StreamExt as _};
use mcp_remote_proto::API_VERSION;
use mcp_remote_proto::v1::{DiagnoseResponse, Open, Verdict};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Api;
use super::configured::For;
use super::relay::{Attached, other_version};
use crate::diagnose::{self, Finding, ProxySource, Tools, Way};

/// Findings that wait for the caller.
const FINDINGS: usize = 16;

/// Begins to walk; returns what is found.
///
/// # Errors
/// The opening frame makes no sense, or the daemon is stopping.
pub(super) fn start(
    api: &Api,
    open: Option<Open>,
) -> Result<impl Stream<Item = Result<DiagnoseResponse, Status>> + Send + use<>, Status> {
    if api.stop.is_cancelled() {
        return Err(Status::unavailable("the daemon is stopping"));
    }
    let open = open.ok_or_else(|| Status::invalid_argument("no server is named"))?;
    if open.api_version != API_VERSION {
        return Err(other_version(&open));
    }
    let proxy_source = proxy_source(api, &open);
    let opening = api
        .opening(open, For::Use)
        .map_err(Status::invalid_argument)?;
    let way = Way {
        spec: opening.spec,
        name: opening.terms.name,
        identity: opening.identity,
        proxy_source,
        warnings: opening.warnings,
    };
    let tools = Tools {
        clients: api.clients.clone(),
        servers: api.servers.clone(),
        authority: api.authority.clone(),
        max_message: api.config.pool.max_message,
    };
    let attached = Attached::new(&api.shims);
    let (findings, said) = mpsc::channel(FINDINGS);
    let (gone, stop) = (findings.clone(), api.stop.clone());
    let walking = Box::pin(diagnose::walk(way, tools, findings));
    api.relays.spawn(async move {
        let _attached = attached;
        tokio::select! {
            () = walking => {}
            () = gone.closed() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(ReceiverStream::new(said).map(|finding| Ok(response(finding))))
}

fn proxy_source(api: &Api, open: &Open) -> ProxySource {
    let entry = match open.name.is_empty() {
        true => api.settings.now().defaults.clone(),
        // What is wrong with it is said elsewhere.
        false => match api.settings.server(&open.name) {
            Ok(entry) => entry,
            Err(_) => return ProxySource::Daemon,
        },
    };
    match (entry.table.proxy.as_deref(), &open.proxy) {
        (Some(proxy), _) if proxy != "environment" => ProxySource::File,
        (_, Some(_)) => ProxySource::Command,
        (_, None) => ProxySource::Daemon,
    }
}

fn response(finding: Finding) -> DiagnoseResponse {
    let verdict = match finding.verdict {
        diagnose::Verdict::Ok => Verdict::Ok,
        diagnose::Verdict::Warning => Verdict::Warning,
        diagnose::Verdict::Failed => Verdict::Failed,
        diagnose::Verdict::Skipped => Verdict::Skipped,
    };
    DiagnoseResponse {
        check: finding.check.as_str().to_owned(),
        verdict: verdict.into(),
        found: finding.found,
        advice: finding.advice,
        needs_login: finding.needs_login,
        took_us: u64::try_from(finding.took.as_micros()).unwrap_or(u64::MAX),
    }
}
