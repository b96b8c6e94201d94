//! HTTP/1.1 as a server that controls every byte.
//!
//! Reads requests and writes the replies that scripts ask for. Knows no MCP; a
//! reply may be as wrong as it likes.

use std::io::{self, BufRead, Read, Write};

/// One request as it arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The request target: a path with its query, or a whole URL at a proxy.
    pub target: String,
    /// The header fields, in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.text();
        let shown: String = body.chars().take(300).collect();
        write!(
            f,
            "\n  [{}] {} {} {shown}",
            self.connection, self.method, self.target
        )
    }
}

/// Writes a body of server-sent events, chunk by chunk.
#[expect(missing_debug_implementations, reason = "borrows a socket")]
pub struct Events<'a> {
    wire: &'a mut dyn Write,
}

impl Events<'_> {
    /// Sends one `message` event.
    ///
    /// # Errors
    /// Whatever the socket says; the client has gone.
    pub fn message(&mut self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.raw(&[b"event: message\ndata: ", data.as_ref(), b"\n\n"].concat())
    }

    /// Sends bytes as one HTTP chunk.
    ///
    /// # Errors
    /// Whatever the socket says; the client has gone.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        write!(self.wire, "{:x}\r\n", bytes.len())?;
        self.wire.write_all(bytes)?;
        self.wire.write_all(b"\r\n")?;
        self.wire.flush()
    }
}

/// Writes the body of a [`Reply::Events`]. An error closes the connection in the
/// middle of the body.
pub type EventScript = Box<dyn FnOnce(&mut Events<'_>) -> io::Result<()> + Send>;

/// Writes every byte of a reply; the connection is closed behind it.
pub type RawScript = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// What to answer.
#[expect(missing_debug_implementations, reason = "holds closures")]
pub enum Reply {
    /// Status, header fields and body; the connection stays open.
    Whole(u16, Vec<(String, String)>, Vec<u8>),
    /// 200 with server-sent events.
    Events(Vec<(String, String)>, EventScript),
    /// Bytes, then the end of the connection.
    Raw(RawScript),
    /// Nothing until the fake ends.
    Hang,
}

impl Reply {
    /// Answers with a status and no body.
    pub fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Vec::new())
    }

    /// Answers with a body of this type.
    pub fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(status, Vec::new(), body.into()).with("Content-Type", content_type)
    }

    /// Answers with JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::body(status, "application/json", body)
    }

    /// Answers with server-sent events.
    pub fn events(script: impl FnOnce(&mut Events<'_>) -> io::Result<()> + Send + 'static) -> Self {
        Self::Events(Vec::new(), Box::new(script))
    }

    /// Answers with bytes, then closes the connection.
    pub fn raw(script: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Self {
        Self::Raw(Box::new(script))
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole(_, headers, _) | Self::Events(headers, _) = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Writes the reply; says whether the connection may be used again.
    pub(crate) fn write(self, wire: &mut dyn Write, hang: &dyn Fn()) -> io::Result<bool> {
        match self {
            Self::Whole(status, headers, body) => {
                let mut head = head(status, &headers);
                // RFC 9110 section 8.6: no Content-Length with 204.
                if status != 204 {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                wire.write_all(&[head.as_bytes(), &body].concat())?;
                wire.flush()?;
                Ok(true)
            }
            Self::Events(headers, script) => {
                let head = head(200, &headers)
                    + "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";
                wire.write_all(head.as_bytes())?;
                wire.flush()?;
                script(&mut Events { wire })?;
                wire.write_all(b"0\r\n\r\n")?;
                wire.flush()?;
                Ok(true)
            }
            Self::Raw(script) => {
                script(wire)?;
                wire.flush()?;
                Ok(false)
            }
            Self::Hang => {
                hang();
                Ok(false)
            }
        }
    }
}

fn head(status: u16, headers: &[(String, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// Reads the next request of a connection; `None` at its end.
pub(crate) fn read_request(
    wire: &mut impl BufRead,
    connection: usize,
) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next(), words.next());
    let (Some(method), Some(target)) = (method, target) else {
        return Err(io::Error::other("not a request line"));
    };
    let mut request = Request {
        connection,
        method: method.to_owned(),
        target: target.to_owned(),
        headers: read_headers(wire)?,
        body: Vec::new(),
    };
    let chunked = request
        .header("Transfer-Encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if chunked {
        request.body = read_chunks(wire)?;
    } else if let Some(length) = request.header("Content-Length") {
        let length = length.parse().map_err(io::Error::other)?;
        request.body = vec![0; length];
        wire.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

/// Reads header fields up to the empty line.
fn read_headers(wire: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other("a header field without a colon"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks(wire: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        wire.by_ref().take(length).read_to_end(&mut body)?;
        wire.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}
