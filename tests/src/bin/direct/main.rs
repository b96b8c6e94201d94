//! The program that the benchmark compares with: a process that connects to an
//! MCP server over HTTP, initializes, calls `echo`, prints the answers, exits.
//!
//! Does nothing else: no GET stream, no detection, no retry. One connection,
//! kept alive from request to request.

mod connection;
mod lines;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use connection::{Connection, Failure};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["once", url] => run(once(url, None)),
        ["once", url, ca_file] => run(once(url, Some(ca_file))),
        ["batches", url] => run(batches(url)),
        ["lines", url] => run(lines::relay(url)),
        _ => Err("usage: direct once URL [CA_FILE] | direct batches URL | direct lines URL".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            drop(writeln!(std::io::stderr(), "direct: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// One session with one call; each answer is a line on standard output.
async fn once(url: &str, ca_file: Option<&str>) -> Result<(), Failure> {
    let mut connection = Connection::open(url, ca_file).await?;
    print_line(&connection.post(INITIALIZE).await?)?;
    connection.post(INITIALIZED).await?;
    print_line(&connection.post(CALL).await?)
}

/// One session; for each number read from standard input makes as many calls,
/// one after the other, and prints the nanoseconds of each on one line.
async fn batches(url: &str) -> Result<(), Failure> {
    let mut connection = Connection::open(url, None).await?;
    connection.post(INITIALIZE).await?;
    connection.post(INITIALIZED).await?;
    for line in std::io::stdin().lock().lines() {
        let calls: usize = line?.trim().parse()?;
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = std::time::Instant::now();
            connection.post(CALL).await?;
            times.push(start.elapsed().as_nanos().to_string());
        }
        print_line(times.join(" ").as_bytes())?;
    }
    Ok(())
}

fn print_line(text: &[u8]) -> Result<(), Failure> {
    let mut line = text.to_vec();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}
