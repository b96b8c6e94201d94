//! Generated types to domain types: the opening frame is checked here, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcp_remote_proto::v1;

use crate::config::Config;
use crate::http::{NetworkOptions, ProxySettings, Timeouts};
use crate::jsonrpc::Envelope;
use crate::oauth::identity::Identity;
use crate::one_shot::{Command, Exit, Said};
use crate::relay::{Earlier, NoticeLevel, Resumed, ToShim, ToolFilter};
use crate::server_url::ServerUrl;
use crate::session::{
    CacheLists, Change, Handshake, InitializeResult, LeaseToken, Reuse, ServerSpec, Terms,
    TransportChoice,
};
use crate::upstream::UserHeaders;

/// A checked opening frame.
#[derive(Debug)]
pub(super) struct Opening {
    /// How to reach the server.
    pub(super) spec: ServerSpec,
    /// Who may have the session besides this shim.
    pub(super) reuse: Reuse,
    /// How a session is kept afterwards.
    pub(super) terms: Terms,
    /// Whether lists may be answered from here.
    pub(super) cache_lists: CacheLists,
    /// The handshake of a shim that comes back.
    pub(super) resumed: Option<Resumed>,
    /// What the shim wants.
    pub(super) purpose: v1::Purpose,
    /// Who signs in, if that is needed.
    pub(super) identity: Identity,
    /// The shim's desktop.
    pub(super) display: v1::Display,
    /// How long a request waits for somebody to sign in; `None`: as usual.
    pub(super) auth_timeout: Option<Duration>,
    /// Debug notices are wanted.
    pub(super) debug: bool,
    /// How long a request may go without a sign of life.
    pub(super) request_timeout: Option<Duration>,
    /// Which tools the client does not see.
    pub(super) tools: ToolFilter,
    /// How often the server is pinged; `None`: never.
    pub(super) ping_interval: Option<Duration>,
    /// The shim's process id, for logs.
    pub(super) shim_pid: u32,
    /// Sentences for the user about what was left out.
    pub(super) warnings: Vec<String>,
}

/// Checks an opening frame.
///
/// # Errors
/// A sentence about the field that is wrong; never a secret.
pub(super) fn opening(open: v1::Open, config: &Config) -> Result<Opening, String> {
    let purpose = open.purpose();
    let options = open.options.clone().unwrap_or_default();
    let (transport, reuse) = (transport(options.transport()), reuse(options.reuse()));
    let url = ServerUrl::parse(&open.server_url, options.allow_http)
        .map_err(|error| error.to_string())?;
    let given = open
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.as_str()));
    let (headers, mut warnings) = UserHeaders::parse(given)?;
    warnings.extend(open.auth.iter().flat_map(super::grant_type::superfluous));
    let proxy = match open.proxy.clone() {
        Some(proxy) => given_proxy(proxy),
        None => config.proxy.clone(),
    };
    let network = network(&options, &proxy, &url, config)?;
    let cache_lists = cache_lists(&options.cache_lists)?;
    let timeout = open.auth.as_ref().map_or(0, |auth| auth.timeout_s);
    let folder = auth_folder(open.auth_folder.clone(), config)?;
    let identity = super::identity::identity(&open, url.clone(), network.clone())?;
    let identity = Identity {
        folder,
        proxies: proxy,
        ..identity
    };
    let mut display = open.display.unwrap_or_default();
    // Whoever wants a code wants no page here, and who is asked nothing is shown none.
    display.may_open_browser &= !identity.by_code && !display.non_interactive;
    Ok(Opening {
        identity,
        display,
        auth_timeout: Some(timeout)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into())),
        reuse,
        terms: Terms::default(),
        cache_lists,
        spec: ServerSpec {
            url,
            transport,
            headers,
            network,
            tokens: None,
            cookies: !options.disable_cookies,
        },
        tools: ToolFilter::new(&options.ignore_tools),
        ping_interval: milliseconds(options.ping_interval_ms),
        resumed: open.resumed.map(resumed).transpose()?,
        purpose,
        debug: options.debug,
        request_timeout: milliseconds(options.request_timeout_ms),
        shim_pid: open.shim_pid,
        warnings,
    })
}

fn given_proxy(proxy: v1::ProxyEnvironment) -> ProxySettings {
    ProxySettings {
        http: proxy.http_proxy,
        https: proxy.https_proxy,
        all: proxy.all_proxy,
        no: proxy.no_proxy,
    }
}

fn cache_lists(text: &str) -> Result<CacheLists, String> {
    match text {
        "" => Ok(CacheLists::default()),
        text => CacheLists::parse(text).ok_or_else(|| {
            "the value of --cache-lists is not never, certain or a number of seconds".into()
        }),
    }
}

fn network(
    options: &v1::Options,
    proxy: &ProxySettings,
    url: &ServerUrl,
    config: &Config,
) -> Result<NetworkOptions, String> {
    Ok(NetworkOptions {
        ca_file: match options.ca_file.is_empty() {
            true => file("NODE_EXTRA_CA_CERTS", options.environment_ca_file.clone())?,
            false => file("--ca-file", options.ca_file.clone())?,
        },
        ssl_cert_file: file("SSL_CERT_FILE", options.ssl_cert_file.clone())?
            .or_else(|| config.ssl_cert_file.clone()),
        proxy: proxy.proxy_for(url.url()),
        timeouts: Timeouts {
            connect: milliseconds(options.connect_timeout_ms),
            headers: milliseconds(options.headers_timeout_ms),
            body: milliseconds(options.body_timeout_ms),
        },
        ipv4: options.ipv4,
    })
}

/// Zero is none.
fn milliseconds(given: u64) -> Option<Duration> {
    (given > 0).then(|| Duration::from_millis(given))
}

fn transport(wanted: v1::Transport) -> TransportChoice {
    match wanted {
        v1::Transport::Unspecified | v1::Transport::HttpFirst => TransportChoice::HttpFirst,
        v1::Transport::SseFirst => TransportChoice::SseFirst,
        v1::Transport::HttpOnly => TransportChoice::HttpOnly,
        v1::Transport::SseOnly => TransportChoice::SseOnly,
    }
}

fn reuse(wanted: v1::Reuse) -> Reuse {
    match wanted {
        v1::Reuse::Unspecified | v1::Reuse::Sequential => Reuse::Sequential,
        v1::Reuse::Never => Reuse::Never,
        v1::Reuse::Concurrent => Reuse::Concurrent,
    }
}

/// Checks where a shim has its token files.
///
/// # Errors
/// It does not say where from.
pub(super) fn auth_folder(path: String, config: &Config) -> Result<Arc<Path>, String> {
    let folder = file("MCP_REMOTE_CONFIG_DIR", path)?;
    Ok(folder.map_or_else(|| config.auth_folder.as_path().into(), Arc::from))
}

fn file(source: &str, path: String) -> Result<Option<PathBuf>, String> {
    let path = PathBuf::from(path);
    match path.as_os_str().is_empty() {
        true => Ok(None),
        false if path.is_absolute() => Ok(Some(path)),
        false => Err(format!(
            "the path of {source} is not absolute: {}",
            path.display()
        )),
    }
}

fn resumed(resumed: v1::ResumedHandshake) -> Result<Resumed, String> {
    let initialize = Envelope::parse(resumed.initialize)
        .ok()
        .and_then(Handshake::of_client);
    let initialize = initialize.ok_or("the handshake to resume is no initialize request")?;
    let initialized = Some(resumed.initialized).filter(|message| !message.is_empty());
    let switched_on = resumed.switched_on.into_iter().filter_map(|request| {
        // One of a later release is not known here.
        Change::of(&Envelope::parse(request).ok()?).flatten()
    });
    Ok(Resumed {
        initialize,
        initialized,
        earlier: Earlier {
            lease: LeaseToken::shown(&resumed.lease),
            switched_on: switched_on.collect(),
        },
    })
}

/// Turns what a relay says into a frame.
pub(super) fn frame(to_shim: ToShim, handover: bool) -> v1::RelayResponse {
    use v1::relay_response::Frame;
    let frame = match to_shim {
        ToShim::Message(message) => Frame::Message(message),
        ToShim::Notice(level, text) => Frame::Notice(notice(level, text)),
        ToShim::Server(result, warm, lease) => Frame::Server(summary(&result, warm, &lease)),
        ToShim::Goodbye => Frame::Goodbye(goodbye(handover)),
        ToShim::SignInNeeded(text) => Frame::Goodbye(v1::Goodbye {
            reason: v1::GoodbyeReason::SignInNeeded.into(),
            text,
        }),
    };
    v1::RelayResponse { frame: Some(frame) }
}

/// Reads what a one-shot command is to do.
pub(super) fn one_shot(what: v1::one_shot::What, as_json: bool) -> Command {
    match what {
        v1::one_shot::What::Call(call) => Command::Call {
            name: call.name,
            words: call.words,
            arguments: call.arguments,
            as_json,
        },
        v1::one_shot::What::Tools(tools) => Command::Tools {
            name: Some(tools.name).filter(|name| !name.is_empty()),
            as_json,
        },
    }
}

/// Turns what a one-shot command says into a frame.
pub(super) fn said(said: Said, handover: bool) -> v1::RelayResponse {
    use v1::output::What;
    use v1::relay_response::Frame;
    let what = match said {
        Said::Beside(to_shim) => return frame(to_shim, handover),
        Said::Finished(finished) => {
            let finished = v1::Finished {
                exit: exit_code(finished.exit),
                sentence: finished.sentence,
            };
            let frame = Some(Frame::Finished(finished));
            return v1::RelayResponse { frame };
        }
        Said::Text(text) => What::Text(text),
        Said::Json(json) => What::Json(json),
        Said::Failure(text) => What::Failure(text),
        Said::File(file) => What::File(v1::OutputFile {
            mime_type: file.mime_type,
            name: file.name,
            content: file.content,
        }),
        Said::Tool(name, description) => What::Tool(v1::OutputTool { name, description }),
    };
    let frame = Some(Frame::Output(v1::Output { what: Some(what) }));
    v1::RelayResponse { frame }
}

/// The shim's exit codes.
fn exit_code(exit: Exit) -> u32 {
    match exit {
        Exit::Done => 0,
        Exit::Failed => 1,
        Exit::Usage => 2,
        Exit::NeedsLogin => 11,
    }
}

fn goodbye(handover: bool) -> v1::Goodbye {
    let (reason, text) = match handover {
        true => (
            v1::GoodbyeReason::Handover,
            "the daemon makes place for a newer one",
        ),
        false => (v1::GoodbyeReason::Stopping, "the daemon is stopping"),
    };
    v1::Goodbye {
        reason: reason.into(),
        text: text.into(),
    }
}

fn notice(level: NoticeLevel, text: String) -> v1::Notice {
    let level = match level {
        NoticeLevel::Debug => v1::NoticeLevel::Debug,
        NoticeLevel::Info => v1::NoticeLevel::Info,
        NoticeLevel::Error => v1::NoticeLevel::Error,
    };
    v1::Notice {
        level: level.into(),
        text,
    }
}

/// Says who answers.
fn summary(result: &InitializeResult, warm: bool, lease: &LeaseToken) -> v1::ServerSummary {
    v1::ServerSummary {
        name: result.server_name.clone(),
        version: result.server_version.clone(),
        protocol_version: result.version.as_str().into(),
        transport: result.transport.as_str().into(),
        warm,
        lease: lease.reveal().into(),
    }
}
