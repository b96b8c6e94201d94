//! The states of servers in the table, in the JSON and in the exit code, from real
//! situations.

use std::collections::BTreeMap;

use mcp_remote_proto::v1::{ServerState, ServerStatus};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Replies, Reply, label};
use serde_json::Value;

use crate::support::{attached, one_sentence, one_shot};

pub(crate) fn json(home: &TestHome) -> (i32, Value) {
    let finished = home.run(&["status", "--json"]);
    let json = serde_json::from_str(&finished.stdout).expect("it is JSON");
    (finished.code, json)
}

/// Returns state, action and note of every server, by its URL.
pub(crate) fn servers(json: &Value) -> BTreeMap<String, [String; 3]> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let servers = json["servers"].as_array().expect("servers").iter();
    servers
        .map(|server| {
            let shown = ["state", "action", "note"].map(|name| text(&server[name]));
            (text(&server["url"]), shown)
        })
        .collect()
}

/// Answers the first request of this label with a status and a delay.
fn busy(wanted: &'static str) -> impl Fn(&mcp_remote_tests::upstream::Request) -> Option<Reply> {
    move |request| {
        let later = || Reply::status(429).with("Retry-After", "15");
        (label(request) == wanted).then(later)
    }
}

fn wait_for_states<const N: usize>(home: &TestHome, expected: [(&FakeUpstream, ServerState); N]) {
    let expected = expected.map(|(server, state)| (server.url(), state));
    Rpc::connect(home).watch_until(|status| {
        let state = |url: &str| {
            let mut servers = status.servers.iter();
            servers
                .find(|server| server.url == url)
                .map(ServerStatus::state)
        };
        let as_expected = |(url, wanted): &(String, ServerState)| state(url) == Some(*wanted);
        expected.iter().all(as_expected).then_some(())
    });
}

#[test]
fn what_happens_to_servers_is_what_their_states_say() {
    let ready = FakeUpstream::start();
    let idle = FakeUpstream::start();
    let connecting = FakeUpstream::start();
    let busy_server = FakeUpstream::scripted(busy("POST initialize"));
    let mut down = FakeUpstream::start();
    down.go_down();
    let closed = FakeUpstream::scripted(|_| Some(Reply::status(401)));
    let lost = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    let home = TestHome::new();
    one_shot(&home, &[&idle.url(), "--reuse", "never"]);
    one_shot(&home, &[&ready.url()]);
    let _lost = attached(&home, &[&lost.url()]);
    lost.cut_streams();
    connecting.script(|request| (label(request) == "POST initialize").then_some(Reply::Hang));
    let mut waiting: Vec<_> = [&connecting, &busy_server, &down, &closed]
        .map(|server| home.shim(&[&server.url()]))
        .into();
    for shim in &mut waiting {
        shim.send(INITIALIZE);
    }
    for shim in &waiting[2..] {
        assert!(shim.message()["error"].is_object());
    }
    wait_for_states(
        &home,
        [
            (&ready, ServerState::Ready),
            (&idle, ServerState::Idle),
            (&connecting, ServerState::Connecting),
            (&busy_server, ServerState::BackingOff),
            (&down, ServerState::BackingOff),
            (&closed, ServerState::NeedsLogin),
            (&lost, ServerState::SessionLost),
        ],
    );
    let (code, json) = json(&home);
    assert_eq!((code, &json["action"]), (11, &Value::from("login")));
    let shown = servers(&json);
    let of = |server: &FakeUpstream| shown[&server.url()].clone();
    assert_eq!(of(&ready), ["ready", "none", ""]);
    assert_eq!(of(&idle), ["idle", "none", ""]);
    assert_eq!(of(&connecting), ["connecting", "none", ""]);
    let [state, action, note] = of(&busy_server);
    assert_eq!([state.as_str(), action.as_str()], ["backing-off", "wait"]);
    assert!(note.contains("429"), "{note}");
    assert!(note.contains("; next try in 1"), "{note}");
    let [state, action, note] = of(&down);
    assert_eq!([state.as_str(), action.as_str()], ["backing-off", "retry"]);
    let again = "; tried again at the next request";
    assert!(note.ends_with(again), "{note}");
    let run = format!("run: mcp-remote login {}", closed.url());
    assert_eq!(of(&closed), ["needs-login", "login", &run]);
    let [state, action, _] = of(&lost);
    assert_eq!([state.as_str(), action.as_str()], ["session-lost", "retry"]);
}

#[test]
fn a_server_that_goes_away_while_a_session_waits_is_tried_again_by_itself() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.wait_for_streams(1);
    upstream.go_down();
    let rpc = Rpc::connect(&home);
    let server = rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.state() == ServerState::BackingOff).then(|| server.clone())
    });
    assert!(server.next_attempt_unix_ms > 0, "{server:?}");
    assert!(server.last_error.contains("refused"), "{server:?}");
    assert_eq!(home.run(&["status"]).code, 10);
    upstream.come_back();
    shim.echo("again");
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.state() == ServerState::Ready && server.next_attempt_unix_ms == 0).then_some(())
    });
    assert_eq!(home.run(&["status"]).code, 0);
}

#[test]
fn one_request_that_takes_too_long_says_nothing_about_its_server() {
    let upstream = FakeUpstream::with(Config {
        replies: Replies::Json,
        ..Config::default()
    });
    let home = TestHome::new();
    let mut patient = attached(&home, &[&upstream.url()]);
    for flag in ["--request-timeout", "--headers-timeout"] {
        let mut hasty = attached(&home, &[&upstream.url(), flag, "0.3"]);
        let refused = hasty.call("hold", r#"{"gate":"never"}"#);
        assert!(refused["error"].is_object(), "{refused}");
        let (code, json) = json(&home);
        let server = &json["servers"][0];
        assert_eq!(
            (code, &server["state"]),
            (0, &Value::from("ready")),
            "{json}"
        );
        let error = server["last_error"].as_str();
        assert!(error.is_some_and(|error| error.contains("0.3 s")), "{json}");
    }
    patient.echo("works");
}

#[test]
fn a_server_that_nobody_knows_is_an_error() {
    let home = TestHome::new();
    let upstream = FakeUpstream::start();
    one_shot(&home, &[&upstream.url()]);
    let finished = home.run(&["status", "https://nobody.example.com/mcp"]);
    assert_eq!(finished.code, 1);
    assert!(
        finished.stdout.contains("No server https://nobody"),
        "{finished:?}"
    );
}

/// Returns state, action and note of every named server.
fn named(json: &Value) -> BTreeMap<String, [String; 3]> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rows = json["servers"].as_array().expect("servers").iter();
    let named = rows.filter(|row| row["names"][0].is_string());
    named
        .map(|row| {
            let shown = ["state", "action", "note"].map(|name| text(&row[name]));
            (text(&row["names"][0]), shown)
        })
        .collect()
}

#[test]
fn names_of_one_url_have_a_line_each() {
    let mut down = FakeUpstream::start();
    down.go_down();
    let accounts = FakeUpstream::scripted(|request| {
        let refused = request.header("authorization") == Some("Bearer b");
        refused.then(|| Reply::status(401))
    });
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.y]\nurl = \"{0}\"\n[servers.off]\nurl = \"{0}\"\nenabled = false\n[servers.broken]\nurl = \"{0}\"\nheader_file = \"nowhere\"\n[servers.home]\nurl = \"{1}\"\nheaders = {{ Authorization = \"Bearer a\" }}\n[servers.work]\nurl = \"{1}\"\nheaders = {{ Authorization = \"Bearer b\" }}\n",
        down.url(),
        accounts.url()
    ));
    assert_ne!(home.run(&["y"]).code, 0);
    assert_eq!(home.run(&["home"]).code, 0);
    assert_ne!(home.run(&["work"]).code, 0);
    let (code, json) = json(&home);
    let shown = named(&json);
    let of = |name: &str| {
        let [state, action, note] = &shown[name];
        (state.as_str(), action.as_str(), note.as_str())
    };
    let (state, action, note) = of("y");
    assert_eq!((state, action), ("backing-off", "retry"), "{note}");
    assert!(note.contains("refused"), "{note}");
    let (state, action, note) = of("off");
    assert_eq!((state, action), ("disabled", "enable"), "{note}");
    assert!(note.contains("enabled = false"), "{note}");
    let (state, action, note) = of("broken");
    assert_eq!((state, action), ("disabled", "enable"), "{note}");
    assert!(note.contains("the header file"), "{note}");
    assert_eq!(of("home").0, "ready");
    assert_eq!(of("work").0, "needs-login");
    assert_eq!((shown.len(), code), (5, 11), "{shown:?}");
    // By its name each is shown alone, by their URL all are.
    for (asked, lines) in [("home", 1), ("work", 1), (&accounts.url(), 2)] {
        let one = home.run(&["status", asked, "--json"]).stdout;
        let one: Value = serde_json::from_str(&one).expect("JSON");
        assert_eq!(
            one["servers"].as_array().map(Vec::len),
            Some(lines),
            "{asked}"
        );
    }
}

#[test]
fn what_is_shown_goes_with_whoever_has_the_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&format!("[servers.work]\nurl = \"{}\"\n", upstream.url()));
    one_shot(&home, &[&upstream.url()]);
    let _shim = attached(&home, &["work"]);
    let (_, json) = json(&home);
    assert_eq!(named(&json)["work"][0], "ready");
    let rows = json["servers"].as_array().expect("servers");
    let by_url = rows.iter().find(|row| row["names"][0].is_null());
    assert_eq!(by_url.expect("a row")["state"], "idle");
    let work = rows.iter().find(|row| row["names"][0] == "work");
    let work = work.expect("a row");
    assert_eq!(work["transport"], "streamable-http", "{work}");
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_server_that_cannot_be_used_as_it_is_written_needs_somebody() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let upstream = FakeUpstream::start();
    for (key, said) in [
        ("ca_file = \"nowhere.pem\"", "the file of ca_file"),
        (
            "headers = { Authorization = \"Bearer ${NOBODY}\" }",
            "NOBODY",
        ),
    ] {
        let url = upstream.url();
        home.configure(&format!("[servers.odd]\nurl = \"{url}\"\n{key}\n"));
        let reload = home.run(&["reload"]);
        assert!(
            reload.stderr.contains(said) || reload.stdout.contains(said),
            "{reload:?}"
        );
        let status = home.run(&["status"]);
        assert_eq!(status.code, 11, "{status:?}");
        let health = status
            .stdout
            .split("Health: ")
            .nth(1)
            .expect("a health line");
        assert!(
            health.contains("odd cannot be used") && health.contains(said),
            "{health}"
        );
        let doctor = home.run(&["doctor"]).stdout;
        assert!(doctor.contains("odd cannot be used"), "{doctor}");
        let used = home.run_with(&["odd"], "");
        assert!(one_sentence(&used.stderr).contains(said), "{used:?}");
        // One that is switched off needs nobody.
        let text = format!("[servers.odd]\nurl = \"{url}\"\nenabled = false\n{key}\n");
        home.configure(&text);
        assert_eq!(home.run(&["reload"]).code, 0);
        assert_eq!(home.run(&["status"]).code, 0);
    }
}
