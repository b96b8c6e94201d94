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

use cli::{BridgeArguments, DoctorArguments, Invocation, Parsed};
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
    let outcome = invocation.and_then(|invocation| run(invocation, environment, notices));
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

fn run(
    invocation: Invocation,
    environment: Environment,
    notices: Notices,
) -> Result<Exit, ShimError> {
    match invocation {
        Invocation::Help => commands::print(&cli::help()),
        Invocation::HelpOn(command) => commands::print(&cli::help_on(command)),
        Invocation::Version => commands::print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Invocation::Bridge(arguments) => run_bridge(&arguments, environment, notices),
        Invocation::Login(arguments) => {
            let opening = bridge::opening(&arguments, &environment, notices)?;
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::login::run(&opening, &launcher, notices))
        }
        Invocation::Logout { server, all } => {
            let opening =
                |arguments: &BridgeArguments| bridge::opening(arguments, &environment, notices);
            let request = LogoutRequest {
                open: None,
                all,
                auth_folder: environment.auth_folder()?,
            };
            let opening = server.as_deref().map(opening).transpose()?;
            let launcher = Launcher::new(environment, notices)?;
            let opening = opening.as_ref();
            block_on(commands::logout::run(opening, request, &launcher, notices))
        }
        Invocation::Status(arguments) => {
            let terminal = Terminal::of_standard_output(&environment);
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::status::run(arguments, terminal, &launcher))
        }
        Invocation::Logs(arguments) => {
            let terminal = Terminal::of_standard_output(&environment);
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::logs::run(
                &arguments, terminal, &launcher, notices,
            ))
        }
        Invocation::Doctor(DoctorArguments { server, json }) => {
            let terminal = Terminal::of_standard_output(&environment);
            let opening = |it: &BridgeArguments| bridge::opening(it, &environment, notices);
            match server.as_deref().map(opening).transpose()? {
                Some(opening) => {
                    let launcher = Launcher::new(environment, notices)?;
                    block_on(commands::doctor::walk(&opening, json, terminal, &launcher))
                }
                None => block_on(commands::doctor::run(json, terminal, environment, notices)),
            }
        }
        Invocation::Completions(shell) => commands::print(&commands::completions::script(shell)),
        Invocation::Man => commands::print(&commands::man::page()),
        Invocation::Service(arguments) => {
            let launcher = Launcher::new(environment.clone(), notices)?;
            block_on(commands::service::run(
                arguments,
                &environment,
                &launcher,
                notices,
            ))
        }
        Invocation::Add(arguments) => {
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::add::run(*arguments, &launcher, notices))
        }
        Invocation::Remove(name) => {
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::remove::run(name, &launcher, notices))
        }
        Invocation::List { json } => {
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::list::run(json, &launcher, notices))
        }
        Invocation::Reload => {
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::reload::run(&launcher, notices))
        }
        Invocation::Call(arguments) => {
            let opening = bridge::opening(&arguments.server, &environment, notices)?;
            let launcher = Launcher::new(environment, notices)?;
            let calling = commands::one_shot::call(*arguments, &opening, &launcher, notices);
            block_on(calling)
        }
        Invocation::Tools(arguments) => {
            let opening = bridge::opening(&arguments.server, &environment, notices)?;
            let launcher = Launcher::new(environment, notices)?;
            let listing = commands::one_shot::tools(*arguments, &opening, &launcher, notices);
            block_on(listing)
        }
        Invocation::Stop => {
            let launcher = Launcher::new(environment, notices)?;
            block_on(commands::stop::run(&launcher))
        }
        #[cfg(unix)]
        Invocation::Adopt(arguments) => commands::adopt::run(arguments, &environment),
        #[cfg(not(unix))]
        Invocation::Adopt(_) => Err(ShimError::general(
            "adopt is not for Windows: write mcp-remote where npx mcp-remote stands",
        )),
    }
}

/// Relays; where a person would have to type the messages, signs in instead; and
/// where nobody says anything, checks the server.
fn run_bridge(
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
            block_on(commands::login::run(&opening, &launcher, notices))
        }
        Ok((opening, launcher)) => {
            let (opening, launcher) = (Arc::new(opening), Arc::new(launcher));
            block_on(async {
                match bridge::run(opening.clone(), drain, launcher.clone(), notices).await? {
                    Some(exit) => Ok(exit),
                    None => commands::check::run(&opening, &launcher, notices).await,
                }
            })
        }
        Err(error) if at_terminal => Err(error),
        Err(error) => block_on(bridge::refuse(error, &arguments.url, drain, notices)),
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
