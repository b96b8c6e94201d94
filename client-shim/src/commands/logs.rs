//! `mcp-remote logs`: what the daemon has logged lately, and what it logs, by a
//! stream of its own; works however it was started.

use mcp_remote_proto::v1::logs_response::Frame;
use mcp_remote_proto::v1::{LogLevel, LogLine, LogsRequest, SetLogLevelRequest};
use tonic::{Code, Status};

use crate::cli::LogsArguments;
use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::json::Object;
use crate::launch::{Found, Launcher, PATIENCE};
use crate::leave::{Leave, Reason};
use crate::notices::Notices;
use crate::terminal::{Paint, Terminal, painted, plain};

use super::{print, status};

/// Prints the log, changes how much goes into it, or both.
///
/// # Errors
/// No daemon runs, or it does not serve its log.
pub(crate) async fn run(
    arguments: &LogsArguments,
    terminal: Option<Terminal>,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = match launcher.look().await {
        Found::Daemon(daemon) => daemon,
        Found::Silent(error) => return Err(error),
        Found::Nothing => return Err(not_running(launcher)),
    };
    if let Some(level) = arguments.set_level {
        notices.info(set_level(&daemon, level).await?);
        if !arguments.follow && arguments.level.is_none() {
            return Ok(Exit::OK);
        }
    }
    let signals = |error| ShimError::general(format!("signals cannot be received: {error}"));
    let mut leave = Leave::new().map_err(signals)?;
    tokio::select! {
        reason = leave.reason() => Ok(match reason {
            Reason::Signal(exit) => exit,
            // Nobody reads any more.
            _ => Exit::OK,
        }),
        ended = read(arguments, terminal, &daemon, notices) => ended,
    }
}

async fn read(
    arguments: &LogsArguments,
    terminal: Option<Terminal>,
    daemon: &Daemon,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let request = LogsRequest {
        server: arguments.server.clone(),
        level: arguments.level.unwrap_or(LogLevel::Unspecified).into(),
        follow: arguments.follow,
    };
    let known = match arguments.server.as_str() {
        "" => true,
        server => !status::ask(daemon, Some(server)).await?.servers.is_empty(),
    };
    let unknown = || format!("no server {} is known", plain(&arguments.server));
    if arguments.follow && !known {
        notices.info(format_args!("{} yet", unknown()));
    }
    let mut is_empty = true;
    let frames = daemon.follow(request).await;
    let mut frames = frames.map_err(|status| refused(daemon, &status))?;
    loop {
        let frame = match frames.message().await {
            Ok(Some(frame)) => frame.frame,
            // What is not known any more may have been, and have said something.
            Ok(None) if !arguments.follow && !known && is_empty => {
                let sentence = format!("{}: mcp-remote status says which are", unknown());
                return Err(ShimError::general(sentence));
            }
            Ok(None) if !arguments.follow => return Ok(Exit::OK),
            Err(status) if !daemon.is_hung_up() => return Err(refused(daemon, &status)),
            Ok(None) | Err(_) => {
                let sentence = "mcp-remoted has stopped: its log ends here";
                return Err(ShimError::new(Exit::NOT_RUNNING, sentence));
            }
        };
        is_empty &= !matches!(frame, Some(Frame::Line(_)));
        show(frame, arguments, terminal, notices)?;
    }
}

/// Prints a line; what is not one is said to the person.
fn show(
    frame: Option<Frame>,
    arguments: &LogsArguments,
    terminal: Option<Terminal>,
    notices: Notices,
) -> Result<(), ShimError> {
    match frame {
        Some(Frame::Line(line)) if arguments.json => print(&document(&line)).map(drop),
        Some(Frame::Line(line)) => print(&shown(&line, terminal)).map(drop),
        Some(Frame::Lost(lines)) => {
            notices.info(format_args!(
                "{lines} lines were not read in time and are missing here"
            ));
            Ok(())
        }
        Some(Frame::Level(level)) => {
            let logs = LogLevel::try_from(level).unwrap_or_default();
            if let Some(wanted) = arguments.level.filter(|wanted| *wanted > logs) {
                notices.info(format_args!(
                    "mcp-remoted logs from {} on: mcp-remote logs --set-level {} makes it say more",
                    word(logs),
                    word(wanted)
                ));
            }
            Ok(())
        }
        None => Ok(()),
    }
}

async fn set_level(daemon: &Daemon, level: LogLevel) -> Result<String, ShimError> {
    let request = SetLogLevelRequest {
        level: level.into(),
    };
    let answer = tokio::time::timeout(PATIENCE, daemon.ask(request));
    match answer.await {
        Ok(Ok(answer)) => Ok(format!(
            "mcp-remoted logs from {} on until it ends (it was {})",
            word(level),
            word(answer.before())
        )),
        Ok(Err(status)) => Err(refused(daemon, &status)),
        Err(_) => Err(ShimError::general(format!(
            "{daemon} does not answer: end that process and try again"
        ))),
    }
}

fn refused(daemon: &Daemon, status: &Status) -> ShimError {
    match status.code() {
        Code::Unimplemented => ShimError::new(
            Exit::VERSION_MISMATCH,
            format!("{daemon} does not stream its log: run mcp-remote stop, then try again"),
        ),
        _ => ShimError::general(format!(
            "{daemon} does not show its log: {}",
            plain(status.message())
        )),
    }
}

fn not_running(launcher: &Launcher) -> ShimError {
    let file = launcher.log_file();
    let last = match file.is_file() {
        true => format!(", the last one's log is {}", file.display()),
        false => String::new(),
    };
    ShimError::new(
        Exit::NOT_RUNNING,
        format!("mcp-remoted is not running{last}: the next mcp-remote URL starts it"),
    )
}

fn shown(line: &LogLine, terminal: Option<Terminal>) -> String {
    let paint = match line.level() {
        LogLevel::Error => Paint::Bad,
        LogLevel::Warn => Paint::Fair,
        LogLevel::Debug | LogLevel::Trace => Paint::Dim,
        LogLevel::Info | LogLevel::Unspecified => Paint::Plain,
    };
    let level = format!("{:5}", word(line.level()).to_uppercase());
    let server = match line.server.is_empty() {
        true => String::new(),
        false => format!("{}: ", plain(&line.server)),
    };
    format!(
        "{} {} {server}{}\n",
        time(line.time_unix_ms),
        painted(terminal, paint, &level),
        plain(line.text.trim_start())
    )
}

/// A line for programs: fields are added, never changed.
fn document(line: &LogLine) -> String {
    let document = Object::new()
        .number("time_unix_ms", line.time_unix_ms)
        .string("level", word(line.level()))
        .string("target", &line.target)
        .string("server", &line.server)
        .string("text", line.text.trim_start());
    document.end() + "\n"
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Unspecified => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// RFC 3339, as in the daemon's own log.
fn time(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = date(days);
    let seconds = ms / 1000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ms % 1000
    )
}

/// The date of a day since 1970, by eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(unix_ms), expected);
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_server_said() {
        let line = LogLine {
            time_unix_ms: 0,
            level: LogLevel::Warn.into(),
            target: "mcp_remoted::session".into(),
            server: "https://h/mcp".into(),
            text: " said=\"a\u{1b}]0;x\n\"".into(),
        };
        assert_eq!(
            shown(&line, None),
            "1970-01-01T00:00:00.000Z WARN  https://h/mcp: said=\"a ]0;x \"\n"
        );
        assert_eq!(
            document(&line),
            "{\"time_unix_ms\":0,\"level\":\"warn\",\"target\":\"mcp_remoted::session\",\
             \"server\":\"https://h/mcp\",\"text\":\"said=\\\"a\\u001b]0;x\\n\\\"\"}\n"
        );
    }
}
