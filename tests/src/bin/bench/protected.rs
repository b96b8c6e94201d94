//! What a sign-in costs afterwards: warm one-shots to a server that wants none, to one
//! that wants a token, and to one that wants it bound to a key (DPoP), in turn. All are
//! the tests' fake, so that nothing else differs; it checks every proof, which counts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mcp_remote_tests::authorization_server::{Config, Dpop, FakeAuthorizationServer};
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
    /// One-shots to the server that wants a proof with each request.
    pub(crate) bound: Vec<OneShot>,
    /// What the authorization servers were asked meanwhile.
    pub(crate) asked: Vec<String>,
}

/// Measures it, after somebody has signed in.
pub(crate) fn measure(programs: &Programs, rounds: Rounds) -> Result<Protected, Failure> {
    let upstreams = [(); 3].map(|()| FakeUpstream::start());
    let servers = [None, Some(Dpop::default())].map(|dpop| {
        FakeAuthorizationServer::with(Config {
            dpop,
            ..Config::default()
        })
    });
    let home = Home::new()?;
    for (server, upstream) in servers.iter().zip(&upstreams[1..]) {
        server.protect(upstream);
        sign_in(programs, &home, &upstream.url())?;
    }
    let one = |upstream: &FakeUpstream| one_shot(&mut programs.shim(&home, &upstream.url()));
    for upstream in &upstreams {
        upstream.answer("echo", ECHO);
        for _ in 0..UNTIL_WARM {
            one(upstream)?;
        }
    }
    quiet(programs, &home)?;
    let before = servers.each_ref().map(|server| server.labels().len());
    let mut shots = [(); 3].map(|()| Vec::new());
    for round in 0..rounds.protected {
        // Whoever comes later finds the caches as the one before left them.
        for turn in 0..upstreams.len() {
            let which = (round + turn) % upstreams.len();
            shots[which].push(one(&upstreams[which])?);
        }
    }
    let asked = servers.iter().zip(before);
    let asked = asked.flat_map(|(server, before)| server.labels().split_off(before));
    let asked = asked.collect();
    home.stop(programs)?;
    let [open, guarded, bound] = shots;
    Ok(Protected {
        open,
        guarded,
        bound,
        asked,
    })
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
