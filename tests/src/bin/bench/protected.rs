//! What a sign-in costs afterwards: warm one-shots to a server that wants a token
//! beside the same to one that wants none, in turn. Both are the tests' fake, so that
//! nothing else differs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mcp_remote_tests::authorization_server::FakeAuthorizationServer;
use mcp_remote_tests::browser;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::home::Home;
use crate::near_table::{UNTIL_WARM, quiet};
use crate::programs::Programs;
use crate::stdio::{OneShot, one_shot};
use crate::{Failure, Rounds};

/// What its tool says, as `server-everything` does.
const ECHO: &str = r#"{"content":[{"type":"text","text":"Echo: hello"}]}"#;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Protected {
    /// One-shots to the server that wants no token.
    pub(crate) open: Vec<OneShot>,
    /// One-shots to the server that wants one.
    pub(crate) guarded: Vec<OneShot>,
    /// What the authorization server was asked meanwhile.
    pub(crate) asked: Vec<String>,
}

/// Measures it, after somebody has signed in.
pub(crate) fn measure(programs: &Programs, rounds: Rounds) -> Result<Protected, Failure> {
    let server = FakeAuthorizationServer::start();
    let [open, guarded] = [FakeUpstream::start(), FakeUpstream::start()];
    for upstream in [&open, &guarded] {
        upstream.answer("echo", ECHO);
    }
    server.protect(&guarded);
    let home = Home::new()?;
    sign_in(programs, &home, &guarded.url())?;
    let one = |upstream: &FakeUpstream| one_shot(&mut programs.shim(&home, &upstream.url()));
    for _ in 0..UNTIL_WARM {
        one(&open)?;
        one(&guarded)?;
    }
    quiet(programs, &home)?;
    let before = server.labels().len();
    let mut protected = Protected {
        open: Vec::new(),
        guarded: Vec::new(),
        asked: Vec::new(),
    };
    for round in 0..rounds.protected {
        // Whoever comes second finds the caches as the first one left them.
        if round % 2 == 0 {
            protected.open.push(one(&open)?);
            protected.guarded.push(one(&guarded)?);
        } else {
            protected.guarded.push(one(&guarded)?);
            protected.open.push(one(&open)?);
        }
    }
    protected.asked = server.labels().split_off(before);
    home.stop(programs)?;
    Ok(protected)
}

/// Signs in as somebody does who visits the URL that a command says.
fn sign_in(programs: &Programs, home: &Home, url: &str) -> Result<(), Failure> {
    let mut command = home.command(&programs.shim);
    command.args(["login", url, "--no-browser"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(child.stderr.take().ok_or("no stderr")?);
    let mut lines = said.lines();
    let page = lines.by_ref().find_map(|line| {
        let line = line.ok()?;
        line.starts_with("http").then_some(line)
    });
    let page = page.ok_or("login says no URL")?;
    browser::visit(&page)?;
    // It must not stop because nobody reads.
    lines.for_each(drop);
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("login ended with {status}").into()),
    }
}
