//! A browser for the tests: `test-browser LOG MODE URL`. Writes the URL to LOG
//! and with MODE `visit` goes there and wherever it is sent on, as a person would
//! who is signed in and agrees. MODE `look` stays on the first page.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;

/// Redirects that a browser follows before it calls it a loop.
const HOPS: usize = 8;

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
    let mut url = url.clone();
    for _ in 0..HOPS {
        match get(&url) {
            Ok((200, _)) => return ExitCode::SUCCESS,
            Ok((_, Some(location))) => url = location,
            Ok(_) | Err(_) => return ExitCode::FAILURE,
        }
    }
    ExitCode::FAILURE
}

/// Gets an http URL; returns the status and where it leads.
fn get(url: &str) -> std::io::Result<(u16, Option<String>)> {
    let other = || std::io::Error::other("not a URL that this browser can visit");
    let rest = url.strip_prefix("http://").ok_or_else(other)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = match path {
        "" => "/",
        path => path,
    };
    let mut socket = TcpStream::connect(authority)?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    )?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut location = None;
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field)? == 0 || field.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("location")
        {
            location = Some(value.trim().to_owned());
        }
    }
    // Its end may be cut off: the status was all that counted.
    drop(reader.read_to_end(&mut Vec::new()));
    Ok((status.ok_or_else(other)?, location))
}
