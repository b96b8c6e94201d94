//! A browser for the tests: `test-browser LOG MODE URL`. Writes the URL to LOG
//! and with MODE `visit` goes there and wherever it is sent on, as a person would
//! who is signed in and agrees. MODE `look` stays where it is.

use std::io::Write as _;
use std::process::ExitCode;

use mcp_remote_tests::browser;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [log, mode, url] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    let logged = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|mut file| file.write_all(format!("{url}\n").as_bytes()));
    if logged.is_err() {
        return ExitCode::from(3);
    }
    if mode != "visit" {
        return ExitCode::SUCCESS;
    }
    match browser::visit(url) {
        Ok(page) if page.status == 200 => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}
