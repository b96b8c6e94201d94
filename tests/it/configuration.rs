//! A server's name stands wherever its URL does, and what the configuration says of
//! it counts as flags would.

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::proxy::FakeProxy;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::conversation;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{self, FakeUpstream, Kind};

use crate::support::{attached, messages, one_sentence, one_shot, our_error};

fn header(upstream: &FakeUpstream, name: &str) -> Vec<Option<String>> {
    let requests = upstream.requests();
    let posts = requests.iter().filter(|request| request.method == "POST");
    posts
        .map(|request| request.header(name).map(str::to_owned))
        .collect()
}

#[test]
fn a_name_stands_for_its_url_and_they_share_a_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    home.configure(&format!("[servers.work]\nurl = \"{}\"\n", upstream.url()));
    one_shot(&home, &["work"]);
    one_shot(&home, &[&upstream.url()]);
    one_shot(&home, &["work"]);
    assert_eq!(upstream.sessions_made(), 1);
    let check = home.run(&["work"]);
    assert_eq!(check.code, 0, "{check:?}");
    let status = home.run(&["status", "work"]);
    assert_eq!(status.code, 0, "{status:?}");
    let line = status.stdout.lines().find(|line| line.starts_with("work "));
    assert!(
        line.is_some_and(|line| line.contains("ready")),
        "{}",
        status.stdout
    );
    let json = home.run(&["status", "work", "--json"]).stdout;
    assert!(json.contains(r#""names":["work"]"#), "{json}");
}

#[test]
fn headers_come_from_the_entry_a_file_and_the_daemons_environment() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.configure(&format!(
        "[servers.work]\nurl = \"{}\"\nheader_file = \"headers.txt\"\n[servers.work.headers]\nX-Team = \"${{MCP_REMOTE_TEAM}}\"\nX-Two = \"entry\"\n",
        upstream.url()
    ));
    let file = home.configuration().with_file_name("headers.txt");
    std::fs::write(file, format!("# one\nX-Key: {SECRET}file\n")).expect("it can be written");
    home.set("MCP_REMOTE_TEAM", "blue");
    one_shot(&home, &["work", "--header", "x-two: flag"]);
    for (name, value) in [
        ("x-team", "blue"),
        ("x-key", &format!("{SECRET}file")),
        ("x-two", "flag"),
    ] {
        for sent in header(&upstream, name) {
            assert_eq!(sent.as_deref(), Some(value), "{name}");
        }
    }
    let list = home.run(&["list", "--json"]).stdout;
    assert!(list.contains("X-Key") && !list.contains(SECRET), "{list}");
}

#[test]
fn a_variable_that_the_daemon_does_not_have_is_said_to_whoever_asks() {
    let [one, other] = [FakeUpstream::start(), FakeUpstream::start()];
    let home = TestHome::stripped();
    home.configure(&format!(
        "[servers.one]\nurl = \"{}\"\nheaders = {{ X-Key = \"${{NO_SUCH_VARIABLE}}\" }}\n[servers.other]\nurl = \"{}\"\n",
        one.url(),
        other.url()
    ));
    let finished = home.run_with(&["one"], &conversation("x"));
    assert!(finished.stderr.contains("NO_SUCH_VARIABLE"), "{finished:?}");
    for answer in messages(&finished.stdout) {
        let id = answer["id"].clone();
        our_error(&answer, id);
    }
    assert_eq!(one.labels(), Vec::<String>::new());
    one_shot(&home, &["other"]);
}

#[test]
fn flags_win_over_the_entry_and_the_entry_over_the_defaults() {
    let upstream = FakeUpstream::with(upstream::Config {
        kind: Kind::HttpSse(404),
        ..upstream::Config::default()
    });
    let home = TestHome::new();
    home.configure(&format!(
        "[defaults]\ntransport = \"http-only\"\nrequest_timeout = 1\n[servers.sse]\nurl = \"{0}\"\ntransport = \"sse-only\"\n[servers.http]\nurl = \"{0}\"\n",
        upstream.url()
    ));
    let fails = |arguments: &[&str]| {
        let mut shim = home.shim(arguments);
        our_error(&shim.handshake(), 0);
    };
    one_shot(&home, &["sse"]);
    assert_eq!(upstream.labels()[0], "GET", "no other transport was tried");
    fails(&["http"]);
    fails(&[&upstream.url()]);
    fails(&["sse", "--transport", "http-only"]);
    one_shot(&home, &["http", "--transport", "sse-only"]);
    one_shot(&home, &[&upstream.url(), "--transport", "sse-only"]);
}

#[test]
fn a_request_timeout_of_the_configuration_counts_unless_a_flag_says_otherwise() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.work]\nurl = \"{}\"\nrequest_timeout = 0.2\n",
        upstream.url()
    ));
    let mut shim = attached(&home, &["work"]);
    our_error(&shim.call("hold", r#"{"gate":"never"}"#), 1);
    let mut patient = attached(&home, &["work", "--request-timeout", "0"]);
    let id = patient.begin_call("hold", r#"{"gate":"later"}"#);
    // The other one's time passes once more.
    our_error(&shim.call("hold", r#"{"gate":"never"}"#), 2);
    upstream.open_gate("later");
    assert!(patient.message()["result"].is_object());
    assert_eq!(id, 1);
}

#[test]
fn zero_on_the_command_line_is_for_ever_whatever_the_configuration_says() {
    let upstream = FakeUpstream::with(upstream::Config {
        replies: upstream::Replies::Json,
        ..upstream::Config::default()
    });
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.work]\nurl = \"{}\"\nheaders_timeout = 0.3\n",
        upstream.url()
    ));
    let mut patient = attached(&home, &["work", "--headers-timeout", "0"]);
    patient.begin_call("hold", r#"{"gate":"later"}"#);
    // That time passes for somebody else.
    let mut hasty = attached(&home, &["work"]);
    let refused = hasty.call("hold", r#"{"gate":"never"}"#).to_string();
    assert!(refused.contains("within 0.3 s"), "{refused}");
    upstream.open_gate("later");
    let answer = patient.message();
    assert!(answer["result"].is_object(), "{answer}");
}

#[test]
fn proxy_and_authority_of_the_defaults_serve_clients_with_a_bare_environment() {
    let authority = TestCa::new();
    let upstream = FakeUpstream::with(upstream::Config {
        tls: Some(authority.server()),
        ..upstream::Config::default()
    });
    let proxy = FakeProxy::start(upstream.port());
    let home = TestHome::stripped();
    let file = authority.write(home.folder());
    home.configure(&format!(
        "[defaults]\nproxy = \"{}\"\nno_proxy = \"localhost\"\nca_file = \"{}\"\n[servers.direct]\nurl = \"{}\"\nproxy = \"none\"\n",
        proxy.url(),
        file.display(),
        upstream.url()
    ));
    one_shot(&home, &["https://mcp.invalid/mcp"]);
    assert!(!proxy.seen().is_empty());
    // These two go there directly.
    one_shot(&home, &["direct"]);
    one_shot(&home, &[&upstream.url()]);
    let seen = proxy.seen();
    // The session may need a second connection meanwhile.
    assert!(
        seen.iter().all(|one| one == "CONNECT mcp.invalid:443"),
        "{seen:?}"
    );
}

#[test]
fn a_name_and_its_url_share_tokens() {
    let server = FakeAuthorizationServer::with(Config::default());
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    home.configure(&format!(
        "[servers.work]\nurl = \"{0}\"\n[servers.team]\nurl = \"{0}\"\nheaders = {{ X-Team = \"${{MCP_REMOTE_TEAM}}\" }}\n",
        upstream.url()
    ));
    home.set("MCP_REMOTE_TEAM", "blue");
    let browser = Browser::agreeing(&mut home);
    let sign_in = |arguments: &[&str]| {
        let mut shim = attached(&home, arguments);
        shim.echo("signed in");
        assert_eq!(shim.finish(), 0);
    };
    sign_in(&["work"]);
    assert_eq!(browser.visited().len(), 1);
    sign_in(&[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1, "the URL has the same tokens");
    sign_in(&[&upstream.url(), "--header", "X-Team: ${MCP_REMOTE_TEAM}"]);
    assert_eq!(browser.visited().len(), 2, "a header is another identity");
    sign_in(&["team"]);
    assert_eq!(browser.visited().len(), 2, "and the same one by name");
    let logout = home.run(&["logout", "work"]);
    assert!(logout.stdout.contains("Signed out of work"), "{logout:?}");
    sign_in(&["team"]);
    assert_eq!(browser.visited().len(), 2);
    sign_in(&["work"]);
    assert_eq!(browser.visited().len(), 3);
}

#[test]
fn a_broken_file_costs_the_names_and_not_the_urls() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let place = format!("{}:3: ", home.configuration().display());
    for (text, what) in [
        (
            "[servers.work]\nurl = \"https://h/\"\nulr = \"x\"\n",
            "\"ulr\"",
        ),
        ("# broken\n\n[servers.work\n", "unclosed"),
        (
            "[servers.work]\nurl = \"https://h/\"\n[servers.work]\n",
            "work is written twice",
        ),
        ("\n\n[servers.\"https://h\"]\nurl = \"https://h/\"\n", "URL"),
        ("\n\n[servers.status]\nurl = \"https://h/\"\n", "command"),
        (
            "[servers.work]\nwarm = true\nurl = \"http://h.example/\"\n",
            "allow_http",
        ),
        (
            "[servers.work]\nurl = \"https://h/\"\nproxy = \"nonsense\"\n",
            "proxy",
        ),
        (
            "[servers.work]\nurl = \"https://h/\"\nwarm = \"yes\"\n",
            "boolean",
        ),
        (
            "\n[servers.a]\nheaders = { \"X Key\" = \"x\" }\nurl = \"https://h/\"\n",
            "X Key",
        ),
    ] {
        home.configure(text);
        let finished = home.run_with(&["work"], &conversation("x"));
        let said = one_sentence(&finished.stderr);
        assert!(said.contains(&place) && said.contains(what), "{said}");
        for answer in messages(&finished.stdout) {
            let id = answer["id"].clone();
            let error = our_error(&answer, id);
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(what))
            );
        }
        one_shot(&home, &[&upstream.url()]);
        // Somebody has to mend the file.
        let status = home.run(&["status"]);
        assert_eq!(status.code, 11, "{status:?}");
        assert!(status.stdout.contains(&place), "{}", status.stdout);
        let list = home.run(&["list"]);
        assert_eq!((list.code, list.stdout.as_str()), (1, ""), "{list:?}");
        assert!(one_sentence(&list.stderr).contains(&place), "{list:?}");
        assert_eq!(home.run(&["stop"]).code, 0);
    }
}

#[test]
fn a_name_that_is_not_there_or_switched_off_is_one_sentence() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.off]\nurl = \"{}\"\nenabled = false\n",
        upstream.url()
    ));
    for (name, what) in [("none", "no server of this name"), ("off", "switched off")] {
        let finished = home.run_with(&[name], &conversation("x"));
        let said = one_sentence(&finished.stderr);
        assert!(
            said.contains(what) && said.contains("config.toml"),
            "{said}"
        );
        assert_eq!(finished.code, 1, "{finished:?}");
        assert_eq!(messages(&finished.stdout).len(), 2);
        let login = home.run(&["login", name]);
        assert_eq!(login.code, 1, "{login:?}");
        assert!(login.stderr.contains(what), "{login:?}");
    }
    let status = home.run(&["status"]).stdout;
    let line = status.lines().find(|line| line.starts_with("off "));
    assert!(
        line.is_some_and(|line| line.contains("disabled")),
        "{status}"
    );
    assert_eq!(upstream.labels(), Vec::<String>::new());
}

#[test]
fn the_daemons_own_settings_come_from_the_file() {
    let mut home = TestHome::new();
    home.unset("MCP_REMOTE_LOG");
    home.configure("[daemon]\nlog_level = \"error\"\nmax_message = 1000\n");
    let upstream = FakeUpstream::start();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    let long = "x".repeat(2000);
    let answer = shim.call("echo", &format!(r#"{{"message":"{long}"}}"#));
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(daemon.stderr(), "", "nothing below an error is logged");
    assert_eq!(shim.finish(), 0);
    assert_eq!(daemon.terminate(), 0);
    home.configure("[daemon]\nidle_exit = 1\n");
    one_shot(&home, &[&upstream.url()]);
    home.wait_until_no_daemon();
}

#[test]
fn sessions_are_kept_as_long_as_their_entry_says() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.short]\nurl = \"{}\"\nsession_idle = 0.1\n",
        upstream.url()
    ));
    one_shot(&home, &["short"]);
    upstream.wait_for("DELETE", 1);
    one_shot(&home, &[&upstream.url()]);
    let idle = Rpc::connect(&home).watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_leased == 0).then_some(server.sessions_idle)
    });
    assert_eq!(idle, 1, "by its URL it is kept as long as any");
}
