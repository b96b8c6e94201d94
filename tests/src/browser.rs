//! What stands in for a person's browser: the program `test-browser`, for
//! `BROWSER`, and the same steps one by one for tests that are the person.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::home::TestHome;
use crate::monitor::PATIENCE;
use crate::process::binary;

/// Redirects that a browser follows before it calls it a loop.
const HOPS: usize = 8;

/// What a page answered.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Page {
    /// Returns the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(field, _)| field == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Gets an http URL as a browser that follows no redirect would.
///
/// # Errors
/// Whatever the socket says.
pub fn get(url: &str) -> std::io::Result<Page> {
    request("GET", url, &[])
}

/// The same with a method and further header fields; `Host` replaces the usual.
///
/// # Errors
/// Whatever the socket says.
pub fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> std::io::Result<Page> {
    let other = || std::io::Error::other("not a URL that this browser can visit");
    let rest = url.strip_prefix("http://").ok_or_else(other)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut socket = TcpStream::connect(authority)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nAccept: text/html\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {authority}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // A server that refuses before it has read everything closes early.
    drop(socket.write_all(format!("{head}\r\n").as_bytes()));
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut headers = Vec::new();
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field)? == 0 || field.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = field.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok());
    let length = if method == "HEAD" { Some(0) } else { length };
    let mut body = Vec::new();
    // Its end may be cut off: the status is what counts.
    drop(
        reader
            .take(length.unwrap_or(u64::MAX))
            .read_to_end(&mut body),
    );
    Ok(Page {
        status: status.ok_or_else(other)?,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Visits `url` and wherever it is sent on; returns the last page.
///
/// # Errors
/// Whatever a socket says, and a loop.
pub fn visit(url: &str) -> std::io::Result<Page> {
    let mut page = get(url)?;
    for _ in 0..HOPS {
        match page.header("location") {
            Some(location) if (300..400).contains(&page.status) => page = get(location)?,
            _ => return Ok(page),
        }
    }
    Err(std::io::Error::other("too many redirects"))
}

/// Returns the socket on which a test hears of browsers that stay open.
pub fn socket(log: &Path) -> PathBuf {
    log.with_extension("socket")
}

/// Browsers that stay open, each until its connection is dropped.
#[derive(Debug)]
pub struct OpenBrowsers(UnixListener);

impl OpenBrowsers {
    /// Waits for the next one. Its program runs as long as this is kept.
    ///
    /// # Panics
    /// If none comes.
    pub fn next(&self) -> UnixStream {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec::try_from(PATIENCE).expect("it fits");
        let came = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit));
        assert_eq!(came, Ok(1), "a browser is started");
        self.0.accept().expect("a connection").0
    }
}

/// The browser of a test home.
#[derive(Debug)]
pub struct Browser(PathBuf);

impl Browser {
    /// Gives `home` a browser whose person signs in wherever asked.
    pub fn agreeing(home: &mut TestHome) -> Self {
        Self::with(home, "visit")
    }

    /// Gives `home` a browser whose person only looks at the first page.
    pub fn idle(home: &mut TestHome) -> Self {
        Self::with(home, "look")
    }

    /// Gives `home` a browser that stays open, and a way to hear of it.
    ///
    /// # Panics
    /// If the socket cannot be made.
    pub fn staying(home: &mut TestHome) -> (Self, OpenBrowsers) {
        let browser = Self::with(home, "wait");
        let listener = UnixListener::bind(socket(&browser.0)).expect("a socket can be bound");
        (browser, OpenBrowsers(listener))
    }

    fn with(home: &mut TestHome, mode: &str) -> Self {
        let log = home.folder().join("visited");
        let program = binary("test-browser");
        let words = [program.as_path(), &log, Path::new(mode)];
        let words = words.map(|word| word.to_str().expect("UTF-8"));
        home.set("BROWSER", words.join(" "));
        Self(log)
    }

    /// Returns the URLs that it was opened with.
    pub fn visited(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.0).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}
