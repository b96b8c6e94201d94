//! The composition root: starts the parts in order, stops them in reverse. The
//! only module that names all.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_remote_proto::endpoint;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api};
use crate::changes::Changes;
use crate::cli::tokens::MoveArguments;
use crate::cli::{self, Flags, Invocation};
use crate::config::{Config, StartedBy};
use crate::configuration::{self, Settings};
use crate::heap;
use crate::http::HttpClients;
use crate::instance::{InstanceLock, LockError};
use crate::listening::Listening;
use crate::oauth::Authority;
use crate::oauth::browsers::Browsers;
use crate::oauth::names::Names;
use crate::oauth::token_source::END_TIMEOUT;
use crate::service_manager::{self, Handed};
use crate::session::SessionPoolHandle;
use crate::session::pool::{self, PoolDeps};
use crate::session::{Connections, KeptSessions, Servers};
use crate::shutdown::{self, Shutdown};
use crate::startup_report::{self, Report};
use crate::storage::Storage;
use crate::telemetry::{self, Log};
use crate::tokens;

/// How often counters are handed to the storage, and unused memory to the system.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long ending the sessions may take in all: each sends DELETE within 2 s.
const SESSIONS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long grants may take to end. They take no time unless a refresh token or a code
/// has been sent and not been answered.
const GRANTS_TIMEOUT: Duration = END_TIMEOUT.saturating_add(Duration::from_secs(1));

/// Exit code by which a service manager knows to start the program again, which is
/// a newer one then: named in the unit, EX_TEMPFAIL of sysexits.
const START_AGAIN: u8 = 75;

/// How long the storage may take to flush at the end.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the daemon did not start or did not go on.
#[derive(Debug)]
struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    fn new(code: u8, sentence: impl std::fmt::Display) -> Self {
        Self {
            code,
            sentence: sentence.to_string(),
        }
    }
}

/// Runs the daemon's program.
pub fn main() -> ExitCode {
    let flags = match cli::parse(std::env::args_os()) {
        Ok(Invocation::Serve(flags)) => flags,
        Ok(Invocation::MoveTokens(arguments)) => return move_tokens(&arguments),
        Ok(Invocation::Print(text)) => return print(&text),
        Err(error) => {
            complain(&format!("{error} (see mcp-remoted --help)"));
            return ExitCode::from(2);
        }
    };
    match run(&flags) {
        Ok(code) => code,
        Err(failure) => {
            tracing::error!("{}", failure.sentence);
            if flags.spawned {
                startup_report::send(&Report::Failed(failure.code, &failure.sentence));
            } else {
                complain(&failure.sentence);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn move_tokens(arguments: &MoveArguments) -> ExitCode {
    let moved = Config::new(&Flags::default())
        .map_err(|error| error.to_string())
        .and_then(|mut config| {
            config.fill(
                &Flags::default(),
                &configuration::of_daemon(&config.source()),
            );
            tokens::run(arguments, &config)
        });
    match moved {
        Ok(text) => print(&text),
        Err(sentence) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(sentence: &str) {
    // Without a standard error there is nobody to tell.
    drop(writeln!(std::io::stderr(), "mcp-remoted: {sentence}"));
}

fn run(flags: &Flags) -> Result<ExitCode, Failure> {
    let mut config = Config::new(flags).map_err(|error| Failure::new(2, error))?;
    config.fill(flags, &configuration::of_daemon(&config.source()));
    let handed = service_manager::handed();
    detach(&config);
    endpoint::private_folder(config.places.state()).map_err(|error| {
        let code = if error.is_open_to_others() { 5 } else { 1 };
        Failure::new(code, error)
    })?;
    let log = start_logging(&config)?;
    let Some(lock) = lock(&config)? else {
        return Ok(ExitCode::SUCCESS);
    };
    raise_file_limit();
    // One thread: the work is short and mostly system calls, and a second one
    // would add two changes of thread to each message.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(1, format!("no threads: {error}")))?;
    let served = runtime.block_on(serve(config, log, handed));
    // Blocking tasks (certificate files, name look-ups) cannot be aborted.
    runtime.shutdown_background();
    // Held until the process ends, so that a successor finds everything let go.
    std::mem::forget(lock);
    served
}

/// Takes the lock that makes us this state folder's daemon. None: another has it,
/// as the shim that started us has been told.
fn lock(config: &Config) -> Result<Option<InstanceLock>, Failure> {
    let path = config.places.state().join("lock");
    let state = config.places.state().display();
    let taken = match InstanceLock::take(&path) {
        Err(LockError::Held(_)) if config.started_by.is_service() => {
            service_manager::waiting("waiting for another mcp-remoted to make place");
            InstanceLock::succeed(&path)
        }
        taken => taken,
    };
    match taken {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held(pid)) if config.started_by == StartedBy::Shim => {
            startup_report::send(&Report::Running(pid));
            Ok(None)
        }
        Err(LockError::Held(pid)) => {
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let sentence = format!("another mcp-remoted{pid} serves {state}");
            Err(Failure::new(1, sentence))
        }
        Err(LockError::Io(error)) => {
            let sentence = format!("the lock in {state} failed: {error}");
            Err(Failure::new(1, sentence))
        }
    }
}

/// Leaves the session of the terminal or host whose shim started us.
fn detach(config: &Config) {
    #[cfg(unix)]
    if config.started_by == StartedBy::Shim {
        // It fails only for a process that leads its own group already.
        let _leads_already = rustix::process::setsid();
    }
    #[cfg(not(unix))]
    let _ = config;
}

fn start_logging(config: &Config) -> Result<Log, Failure> {
    let file = match config.started_by {
        StartedBy::Shim => {
            let path = config.places.state().join("mcp-remoted.log");
            let unwritable =
                |error| Failure::new(1, format!("{} cannot be written: {error}", path.display()));
            Some(telemetry::log_file(&path).map_err(unwritable)?)
        }
        _ => None,
    };
    Ok(telemetry::start(
        config.log_format,
        config.log_filter.as_deref(),
        file,
    ))
}

/// Each session needs a few descriptors; the usual soft limit is 1024.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        ) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

async fn serve(config: Config, log: Log, handed: Option<Handed>) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let config = Arc::new(config);
    let settings = read_settings(&config);
    let shutdown = Shutdown::default();
    let background = TaskTracker::new();
    let sessions = TaskTracker::new();
    let grants = TaskTracker::new();

    let (storage, contents) = Storage::open(config.places.state()).await;
    let changes = Changes::default();
    let servers = Arc::new(Servers::new(storage.clone(), &changes, contents.servers));
    let names = Names::of_system();
    let clients = Arc::new(HttpClients::new(Arc::new(names.clone())));
    let browsers = browsers(config.started_by);
    let store = (config.auth_folder.as_path(), config.token_store);
    let ending = &shutdown.end_grants;
    let authority = Authority::new(store, browsers, &clients, names, &changes, &grants, ending);
    let kept = KeptSessions::new(storage.clone(), &contents.secret, contents.sessions);
    let kept = Arc::new(kept);
    let connections = Arc::new(Connections::new(clients.clone()));
    let pool = begin_pool(&config, &connections, &kept, &shutdown, &sessions);

    let mut listening = listen(&config, handed)?;
    let listener = listening.take_listener().expect("it has just begun");

    let api = Api {
        config: config.clone(),
        settings,
        socket: listening.endpoint.to_string(),
        started,
        pool,
        servers: servers.clone(),
        clients,
        authority,
        connections,
        shims: watch::Sender::new(0),
        relays: TaskTracker::new(),
        stop: shutdown.stop.clone(),
        handover: shutdown.handover.clone(),
        changes,
        log,
    };
    begin_background(&api, kept, &shutdown, &background)?;
    announce(&config, &listening);
    // A task of its own, because the future that the runtime blocks on is woken
    // through the system.
    let serving = background.spawn(api::serve(api, listener)).await;
    let served = serving.map_err(|error| Failure::new(1, format!("the server ended: {error}")))?;

    let asked = shutdown.stop.is_cancelled();
    end_all(&shutdown, &sessions, &grants).await;
    save_and_close(&servers, &storage).await;
    drop(listening);
    tracing::info!("stopped");
    let made_place = shutdown.handover.is_cancelled();
    outcome(served, made_place.then_some(config.started_by), asked)
}

fn browsers(started_by: StartedBy) -> Browsers {
    match started_by {
        // In the unit they would count against its limits.
        StartedBy::Systemd => Browsers::apart(),
        _ => Browsers::new(),
    }
}

/// Sessions first: their end takes tokens.
async fn end_all(shutdown: &Shutdown, sessions: &TaskTracker, grants: &TaskTracker) {
    shutdown.stop.cancel();
    service_manager::stopping();
    shutdown.end_sessions.cancel();
    end("sessions", sessions, SESSIONS_TIMEOUT).await;
    shutdown.end_grants.cancel();
    end("grants", grants, GRANTS_TIMEOUT).await;
}

/// Returns how to exit; `place`: who started a daemon that made place for another.
fn outcome(
    served: Result<(), impl std::fmt::Display>,
    place: Option<StartedBy>,
    asked: bool,
) -> Result<ExitCode, Failure> {
    match (served, place) {
        (Ok(()), Some(started_by)) => Ok(make_place(started_by)),
        (Ok(()), None) if asked => Ok(ExitCode::SUCCESS),
        (Ok(()), None) => Err(Failure::new(1, "the server ended unasked")),
        (Err(error), _) => Err(Failure::new(1, format!("the server ended: {error}"))),
    }
}

/// Reads the configuration file; one that cannot be used is no reason not to start.
fn read_settings(config: &Arc<Config>) -> Settings {
    let known = config.clone();
    let check = move |entry: &configuration::Entry| api::check(entry, &known);
    Settings::read(config.source(), Box::new(check))
}

/// Begins to hold sessions.
fn begin_pool(
    config: &Config,
    connections: &Arc<Connections>,
    kept: &Arc<KeptSessions>,
    shutdown: &Shutdown,
    sessions: &TaskTracker,
) -> SessionPoolHandle {
    let deps = PoolDeps {
        connections: connections.clone(),
        kept: kept.clone(),
        handover: shutdown.handover.clone(),
    };
    let end = shutdown.end_sessions.clone();
    pool::spawn(config.pool.clone(), deps, sessions, end)
}

/// Begins to listen and names the endpoint for the shims.
fn listen(config: &Config, handed: Option<Handed>) -> Result<Listening, Failure> {
    let listening = Listening::begin(&config.places, handed).map_err(|error| {
        let code = if error.is_unsafe() { 5 } else { 1 };
        Failure::new(code, error)
    })?;
    let state = config.places.state().display();
    let unnamed = |error| {
        Failure::new(
            1,
            format!("the endpoint could not be named in {state}: {error}"),
        )
    };
    config
        .places
        .write_endpoint_file(&listening.endpoint)
        .map_err(unnamed)?;
    Ok(listening)
}

/// Starts what runs beside the server: signals, saving, the idle exit.
fn begin_background(
    api: &Api,
    kept: Arc<KeptSessions>,
    shutdown: &Shutdown,
    background: &TaskTracker,
) -> Result<(), Failure> {
    let (reloading, stop) = (api.clone(), shutdown.stop.clone());
    let by_shim = api.config.started_by == StartedBy::Shim;
    let begin_end = shutdown::Begin {
        stop: stop.clone(),
        // Whoever else started us starts us again.
        handover: by_shim.then(|| shutdown.handover.clone()),
    };
    let tasks = background.clone();
    let reload = move || {
        let api = reloading.clone();
        // What is wrong has been logged.
        tasks.spawn(async move { drop(api.reload().await) });
    };
    shutdown::listen(begin_end, reload, background)
        .map_err(|error| Failure::new(1, format!("signals cannot be handled: {error}")))?;
    background.spawn(service_manager::stay_alive(stop.clone()));
    background.spawn(save_now_and_then(api.servers.clone(), stop.clone()));
    let (clients, idle_for) = (api.clients.clone(), api.config.pool.idle_for);
    background.spawn(end_unclaimed(kept, clients, idle_for, stop.clone()));
    background.spawn(api::keep_warm(api.clone()));
    if let Some(after) = api.config.idle_exit {
        background.spawn(exit_when_idle(api.clone(), after, stop));
    }
    Ok(())
}

/// Says that the endpoint accepts, to whoever waits for it.
fn announce(config: &Config, listening: &Listening) {
    let endpoint = &listening.endpoint;
    tracing::info!(%endpoint, version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "ready");
    service_manager::ready(&endpoint.to_string());
    if config.started_by == StartedBy::Shim {
        startup_report::send(&Report::Ready(endpoint));
    }
}

/// Waits for tasks that have been told to end.
async fn end(what: &str, tasks: &TaskTracker, limit: Duration) {
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!("some {what} did not end in time");
    }
}

/// Returns how to exit so that the successor is started: by the service manager,
/// or else by the shim that asked.
fn make_place(started_by: StartedBy) -> ExitCode {
    match started_by {
        StartedBy::Systemd | StartedBy::Launchd => ExitCode::from(START_AGAIN),
        StartedBy::Shim | StartedBy::User => ExitCode::SUCCESS,
    }
}

async fn save_and_close(servers: &Servers, storage: &Storage) {
    let saving = async {
        servers.save().await;
        storage.close().await;
    };
    if tokio::time::timeout(STORAGE_TIMEOUT, saving).await.is_err() {
        tracing::warn!("the storage did not close in time");
    }
}

async fn save_now_and_then(servers: Arc<Servers>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SAVE_INTERVAL) => {
                servers.save().await;
                heap::give_back();
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Ends what earlier daemons left behind, once its shims had as much time to come
/// back as an unused session is kept.
async fn end_unclaimed(
    kept: Arc<KeptSessions>,
    clients: Arc<HttpClients>,
    after: Duration,
    stop: CancellationToken,
) {
    tokio::select! {
        () = tokio::time::sleep(after) => kept.end_unclaimed(&clients).await,
        () = stop.cancelled() => {}
    }
}

/// Stops the daemon once no shim has been attached for a while, nobody is signing in
/// and, unless the user said when to exit, no server is to be kept connected.
async fn exit_when_idle(api: Api, after: Duration, stop: CancellationToken) {
    let mut shims = api.shims.subscribe();
    loop {
        let idle = *shims.borrow_and_update() == 0;
        tokio::select! {
            () = tokio::time::sleep(after), if idle => {
                let is_warm = !api.config.idle_exit_given && api.settings.now().keeps_warm();
                if is_warm || api.authority.is_signing_in() {
                    continue;
                }
                tracing::info!("no shim for {} s, stopping", after.as_secs());
                return stop.cancel();
            }
            changed = shims.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
