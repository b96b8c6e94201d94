//! The shim: speaks MCP on standard input and output for one remote server and
//! relays every message to `mcp-remoted`.
//!
//! Knows no HTTP, no TLS, no OAuth and no MCP beyond `initialize`. Standard
//! output of a bridge carries MCP messages and nothing else.

use std::process::ExitCode;
use std::sync::Arc;

mod auth_options;
mod bridge;
mod cli;
mod commands;
mod daemon;
mod environment;
mod exit;
mod headers;
mod json;
mod launch;
mod leave;
mod notices;
mod seat;
mod service;
mod sign_in;
mod stdio;
mod terminal;

use cli::{AdoptArguments, BridgeArguments, DoctorArguments, Invocation, Parsed};
use environment::Environment;
use exit::{Exit, ShimError};
use launch::Launcher;
use mcp_remote_proto::v1::LogoutRequest;
use notices::{Notices, Volume};
use seat::Called;
use terminal::Terminal;

/// Runs the program; returns the process's exit code.
pub fn main() -> ExitCode {
    let environment = Environment::read();
    let arguments = match Called::of(std::env::args_os()) {
        Called::Ours(arguments) => arguments,
        Called::Npx(arguments) => {
            let became = seat::become_npx(&arguments, &environment);
            return ended(became, Notices::new(Volume::default()));
        }
    };
    let Parsed {
        volume,
        warnings,
        invocation,
    } = cli::parse(arguments.into_iter());
    let notices = Notices::new(volume);
    for warning in &warnings {
        notices.info(warning);
    }
    let outcome = invocation.and_then(|invocation| block_on(run(invocation, environment, notices)));
    ended(outcome, notices)
}

fn ended(outcome: Result<Exit, ShimError>, notices: Notices) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            notices.error(&error);
            error.exit.into()
        }
    }
}

/// Does what the command line says.
async fn run(
    invocation: Invocation,
    environment: Environment,
    notices: Notices,
) -> Result<Exit, ShimError> {
    use commands::{add, completions, doctor, list, login, logout, logs, man};
    use commands::{one_shot, print, reload, remove, service, status, stop};
    let terminal = Terminal::of_standard_output(&environment);
    let opening = |server: &BridgeArguments| bridge::opening(server, &environment, notices);
    let launcher = || Launcher::new(environment.clone(), notices);
    match invocation {
        Invocation::Help => print(&cli::help()),
        Invocation::HelpOn(command) => print(&cli::help_on(command)),
        Invocation::Version => print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::Completions(shell) => print(&completions::script(shell)),
        Invocation::Man => print(&man::page()),
        Invocation::Bridge(server) => run_bridge(&server, environment, notices).await,
        Invocation::Login(server) => {
            let opening = opening(&server)?;
            login::run(&opening, &launcher()?, notices).await
        }
        Invocation::Logout { server, all } => {
            let request = LogoutRequest {
                open: None,
                all,
                auth_folder: environment.auth_folder()?,
            };
            let opening = server.as_deref().map(opening).transpose()?;
            logout::run(opening.as_ref(), request, &launcher()?, notices).await
        }
        Invocation::Call(call) => {
            let opening = opening(&call.server)?;
            one_shot::call(*call, &opening, &launcher()?, notices).await
        }
        Invocation::Tools(tools) => {
            let opening = opening(&tools.server)?;
            one_shot::tools(*tools, &opening, &launcher()?, notices).await
        }
        Invocation::Status(status) => status::run(status, terminal, &launcher()?).await,
        Invocation::Logs(logs) => logs::run(&logs, terminal, &launcher()?, notices).await,
        Invocation::Doctor(DoctorArguments { server, json }) => match server.as_deref() {
            Some(server) => {
                let opening = opening(server)?;
                doctor::walk(&opening, json, terminal, &launcher()?).await
            }
            None => doctor::run(json, terminal, environment, notices).await,
        },
        Invocation::Service(service) => {
            service::run(service, &environment, &launcher()?, notices).await
        }
        Invocation::Add(server) => add::run(*server, &launcher()?, notices).await,
        Invocation::Remove(name) => remove::run(name, &launcher()?, notices).await,
        Invocation::List { json } => list::run(json, &launcher()?, notices).await,
        Invocation::Reload => reload::run(&launcher()?, notices).await,
        Invocation::Stop => stop::run(&launcher()?).await,
        Invocation::Adopt(arguments) => adopt(arguments, &environment),
    }
}

#[cfg(unix)]
fn adopt(arguments: AdoptArguments, environment: &Environment) -> Result<Exit, ShimError> {
    commands::adopt::run(arguments, environment)
}

#[cfg(not(unix))]
fn adopt(_: AdoptArguments, _: &Environment) -> Result<Exit, ShimError> {
    Err(ShimError::general(
        "adopt is not for Windows: write mcp-remote where npx mcp-remote stands",
    ))
}

/// Relays; where a person would have to type the messages, signs in instead; and
/// where nobody says anything, checks the server.
async fn run_bridge(
    arguments: &BridgeArguments,
    environment: Environment,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let at_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let drain = arguments.drain_timeout;
    let prepared = bridge::opening(arguments, &environment, notices)
        .and_then(|opening| Ok((opening, Launcher::new(environment, notices)?)));
    match prepared {
        Ok((opening, launcher)) if at_terminal => {
            commands::login::run(&opening, &launcher, notices).await
        }
        Ok((opening, launcher)) => {
            let (opening, launcher) = (Arc::new(opening), Arc::new(launcher));
            match bridge::run(opening.clone(), drain, launcher.clone(), notices).await? {
                Some(exit) => Ok(exit),
                None => commands::check::run(&opening, &launcher, notices).await,
            }
        }
        Err(error) if at_terminal => Err(error),
        Err(error) => bridge::refuse(error, &arguments.url, drain, notices).await,
    }
}

/// Runs `work`, then leaves without waiting for threads that still block: the
/// process's end is what stops them.
fn block_on(work: impl Future<Output = Result<Exit, ShimError>>) -> Result<Exit, ShimError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            ShimError::general(format!("the event loop cannot be started: {error}"))
        })?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
