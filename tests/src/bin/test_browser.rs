//! A browser for the tests: `test-browser LOG MODE URL`. Writes the URL to LOG
//! and with MODE `visit` goes there and wherever it is sent on, as a person would
//! who is signed in and agrees. MODE `look` stays where it is; `wait` stays open
//! until the test has gone that listens on the socket beside LOG.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
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
    match mode.as_str() {
        "visit" => match browser::visit(url) {
            Ok(page) if page.status == 200 => ExitCode::SUCCESS,
            Ok(_) | Err(_) => ExitCode::FAILURE,
        },
        "wait" => {
            // Ends with the test, however that ends.
            if let Ok(mut test) = UnixStream::connect(browser::socket(Path::new(log))) {
                drop(test.read(&mut [0]));
            }
            ExitCode::SUCCESS
        }
        _ => ExitCode::SUCCESS,
    }
}
