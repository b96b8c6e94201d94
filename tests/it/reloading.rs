//! A reload changes what it has to change and disturbs nobody else.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{Config, FakeUpstream};
use rustix::process::Signal;

use crate::support::{attached, one_sentence, one_shot};

fn entry(name: &str, upstream: &FakeUpstream, more: &str) -> String {
    format!("[servers.{name}]\nurl = \"{}\"\n{more}", upstream.url())
}

#[test]
fn only_servers_whose_entries_changed_are_concerned() {
    let upstreams = [(); 4].map(|()| FakeUpstream::start());
    let [idle, leased, other, by_url] = &upstreams;
    let home = TestHome::new();
    let configure = |header: &str| {
        let header = format!("headers = {{ X-Version = \"{header}\" }}\n");
        let texts = [
            entry("idle", idle, &header),
            entry("leased", leased, &header),
            entry("other", other, ""),
        ];
        home.configure(&texts.join("\n"));
    };
    configure("1");
    one_shot(&home, &["idle"]);
    let mut user = attached(&home, &["leased"]);
    one_shot(&home, &["other"]);
    let mut other_user = attached(&home, &["other"]);
    one_shot(&home, &[&by_url.url()]);
    for upstream in &upstreams {
        upstream.wait_for_streams(1);
    }
    other.forget_requests();
    by_url.forget_requests();
    configure("2");
    let reload = home.run(&["reload"]);
    assert_eq!(reload.code, 0, "{reload:?}");
    assert_eq!(reload.stdout, "Reloaded; changed: idle, leased.\n");
    // The idle session ends at once, the one in use goes on as it was.
    idle.wait_for("DELETE", 1);
    user.echo("with the old header");
    assert_eq!(leased.count("DELETE"), 0);
    assert_eq!(leased.sessions_made(), 1);
    // The next lease has the new entry, and so has whoever comes after this one.
    one_shot(&home, &["leased"]);
    assert_eq!(leased.sessions_made(), 2);
    assert_eq!(user.finish(), 0);
    leased.wait_for("DELETE", 1);
    one_shot(&home, &["idle"]);
    let versions = |upstream: &FakeUpstream| -> Vec<String> {
        let requests = upstream.requests();
        let initialize = requests
            .iter()
            .filter(|request| request.text().contains(r#""method":"initialize""#));
        initialize
            .map(|request| request.header("x-version").unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(versions(idle), ["1", "2"]);
    assert_eq!(versions(leased), ["1", "2"]);
    // The others have noticed nothing.
    other_user.echo("undisturbed");
    one_shot(&home, &[&by_url.url()]);
    assert_eq!(other.labels(), ["POST tools/call"]);
    assert_eq!(by_url.labels(), ["POST tools/call"]);
    assert_eq!(other_user.finish(), 0);
    let again = home.run(&["reload"]);
    assert_eq!(again.stdout, "Reloaded; no server has changed.\n");
}

#[test]
fn changed_defaults_concern_servers_by_url_too() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    home.configure("[defaults]\nuse_id_token = true\n");
    assert_eq!(home.run(&["reload"]).code, 0);
    upstream.wait_for("DELETE", 1);
}

#[test]
fn a_broken_file_leaves_the_old_configuration_in_force() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&entry("work", &upstream, ""));
    let daemon = TestDaemon::start(&home, &[]);
    one_shot(&home, &["work"]);
    home.configure(&entry("work", &upstream, "tranport = \"sse-only\"\n"));
    let reload = home.run(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    let said = one_sentence(&reload.stderr).to_owned();
    let expected = format!(
        "{}:3: unknown key \"tranport\" (did you mean \"transport\"?)",
        home.configuration().display()
    );
    assert!(said.ends_with(&expected), "{said}");
    daemon.wait_for_log("tranport");
    one_shot(&home, &["work"]);
    assert_eq!(upstream.sessions_made(), 1);
    assert!(home.run(&["status"]).stdout.contains(&expected));
    home.configure(&entry("work", &upstream, "transport = \"http-only\"\n"));
    daemon.signal(Signal::HUP);
    upstream.wait_for("DELETE", 1);
    assert!(!home.run(&["status"]).stdout.contains("tranport"));
    one_shot(&home, &["work"]);
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn a_reload_without_a_daemon_says_so() {
    let home = TestHome::new();
    let reload = home.run(&["reload"]);
    assert_eq!(reload.code, 3, "{reload:?}");
    one_sentence(&reload.stderr);
    assert_eq!(home.daemon_pid(), None);
}

#[test]
fn new_certificates_concern_those_who_use_them() {
    let authority = TestCa::new();
    let upstreams = [(); 2].map(|()| {
        FakeUpstream::with(Config {
            tls: Some(authority.server()),
            ..Config::default()
        })
    });
    let [changed, same] = &upstreams;
    let home = TestHome::new();
    let file = authority.write(home.folder());
    let other = home.folder().join("same.pem");
    std::fs::copy(&file, &other).expect("it can be copied");
    let with = |upstream: &FakeUpstream, file: &std::path::Path| {
        let url = upstream.url();
        attached(&home, &[&url, "--ca-file", file.to_str().expect("UTF-8")])
    };
    let mut user = with(changed, &file);
    let mut undisturbed = with(same, &other);
    for (shim, upstream) in [(&mut user, changed), (&mut undisturbed, same)] {
        shim.echo("before");
        upstream.wait_for("GET", 1);
    }
    let mut pem = std::fs::read(&file).expect("it can be read");
    pem.extend_from_slice(b"\n");
    std::fs::write(&file, pem).expect("it can be written");
    Rpc::connect(&home).reload().expect("it reloads");
    user.echo("after");
    undisturbed.echo("after");
    changed.wait_for("GET", 2);
    assert_eq!(same.count("GET"), 1);
    let connections = |upstream: &FakeUpstream| -> Vec<usize> {
        let requests = upstream.requests();
        let calls = requests
            .iter()
            .filter(|request| request.text().contains("tools/call"));
        calls.map(|call| call.connection).collect()
    };
    let [before, after] = connections(changed)[..] else {
        panic!("two calls were made");
    };
    assert_ne!(before, after);
    let [before, after] = connections(same)[..] else {
        panic!("two calls were made");
    };
    assert_eq!(before, after);
    assert_eq!(changed.sessions_made() + same.sessions_made(), 2);
}

#[test]
fn what_status_shows_of_an_open_session_stays() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&entry("work", &upstream, ""));
    let mut shim = attached(&home, &["work"]);
    let shown = || {
        let status = Rpc::connect(&home).status().expect("status");
        let server = &status.servers[0];
        (server.transport.clone(), server.protocol_version.clone())
    };
    let before = shown();
    assert_eq!(before.0, "streamable-http");
    assert_eq!(home.run(&["reload"]).code, 0);
    assert_eq!(shown(), before);
    shim.echo("after");
    assert_eq!(shown(), before);
}
