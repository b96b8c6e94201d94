//! Replies of servers that are broken or hostile.
//!
//! Each is a [`Reply`] for a script. What would be endless ends after
//! [`ENDLESS`] bytes, far beyond any limit under test.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Reply, Request, Rpc};
use crate::monitor::{Monitor, PATIENCE};

/// Where the endless ends, so that a broken test does not fill the machine.
pub const ENDLESS: usize = 1 << 30;

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

fn endless(wire: &mut dyn Write, piece: &[u8]) -> io::Result<()> {
    for _ in 0..ENDLESS / piece.len() {
        wire.write_all(piece)?;
    }
    Ok(())
}

/// Answers with an event whose line never ends.
pub fn endless_line() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(STREAM_HEAD)?;
        wire.write_all(b"data: \"")?;
        endless(wire, &[b'x'; 64 * 1024])
    })
}

/// Answers with an event of endlessly many short lines.
pub fn endless_event() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(STREAM_HEAD)?;
        endless(wire, &b"data: xxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(2048))
    })
}

/// Answers with a JSON document that never ends.
pub fn endless_json() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"x\":\"",
        )?;
        endless(wire, &[b'x'; 64 * 1024])
    })
}

/// Answers with header fields that never end.
pub fn endless_headers() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(b"HTTP/1.1 200 OK\r\n")?;
        endless(
            wire,
            b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
        )
    })
}

/// Answers with `mebibytes` of a JSON string, compressed although nobody asked.
pub fn gzip_bomb(mebibytes: usize) -> Reply {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let fill = |encoder: &mut GzEncoder<Vec<u8>>| {
        encoder.write_all(b"{\"x\":\"")?;
        for _ in 0..mebibytes {
            encoder.write_all(&vec![b'x'; 1 << 20])?;
        }
        encoder.write_all(b"\"}")
    };
    fill(&mut encoder).expect("memory can be written");
    let body = encoder.finish().expect("memory can be written");
    Reply::json(200, body).with("Content-Encoding", "gzip")
}

/// Answers the request with one event of about `bytes` bytes.
pub fn huge_event(request: &Request, bytes: usize) -> Reply {
    let response = huge_response(request, bytes);
    Reply::events(move |events| events.message(&response))
}

/// Answers the request with a JSON document of about `bytes` bytes.
pub fn huge_json(request: &Request, bytes: usize) -> Reply {
    Reply::json(200, huge_response(request, bytes))
}

fn huge_response(request: &Request, bytes: usize) -> String {
    let rpc = Rpc::parse(&request.body).expect("only requests are answered so");
    rpc.result(&format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes)))
}

/// Answers with a page for people.
pub fn html(status: u16) -> Reply {
    Reply::body(
        status,
        "text/html; charset=utf-8",
        "<!doctype html><html><body><h1>Welcome</h1></body></html>",
    )
}

/// Announces more bytes than it sends.
pub fn truncated_json() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n{\"jsonrpc\":",
        )
    })
}

/// Begins an event and ends the connection within it.
pub fn truncated_event() -> Reply {
    Reply::raw(|wire| {
        wire.write_all(STREAM_HEAD)?;
        wire.write_all(b"event: message\ndata: {\"jsonrpc\":\"2.0\",")
    })
}

/// Ends the stream in an orderly way without the answer.
pub fn stream_without_answer() -> Reply {
    Reply::events(|events| events.raw(b": nothing to say\n\n"))
}

/// Sends the client elsewhere.
pub fn redirect(status: u16, location: &str) -> Reply {
    Reply::status(status).with("Location", location)
}

/// Sends these pieces of an event stream, each as one chunk of its own.
pub fn pieces(pieces: Vec<Vec<u8>>) -> Reply {
    Reply::events(move |events| {
        for piece in &pieces {
            events.raw(piece)?;
        }
        Ok(())
    })
}

/// Notifies every 100 ms, until the client hangs up, and never answers.
pub fn chatter() -> Reply {
    Reply::events(|events| {
        loop {
            events.message(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#)?;
            pause(Duration::from_millis(100));
        }
    })
}

/// Lets a moment pass, as a server that is busy does.
pub fn pause(moment: Duration) {
    Monitor::<()>::default().poll(moment, |()| None::<()>);
}

/// Announces a body that never comes, on a connection that stays open.
pub fn promised_body(status: u16) -> Reply {
    Reply::raw(move |wire| {
        let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 10\r\n\r\n");
        wire.write_all(head.as_bytes())?;
        wire.flush()?;
        pause(PATIENCE * 2);
        Ok(())
    })
}

/// Opens a stream with `count` notifications of about `bytes` bytes, counting in
/// `written` those that went out whole; then it stays open and silent.
pub fn flood(count: usize, bytes: usize, written: Arc<Monitor<usize>>) -> Reply {
    let filler = "x".repeat(bytes);
    let message = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{filler}"}}}}"#
    );
    Reply::events(move |events| {
        for _ in 0..count {
            events.message(&message)?;
            written.update(|written| *written += 1);
        }
        loop {
            events.raw(b": still here\n\n")?;
            pause(Duration::from_secs(1));
        }
    })
}
