//! Headers reach the server, and nobody else.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::upstream::{FakeUpstream, hostile};

use crate::support::{one_sentence, one_shot, our_error};

#[test]
fn every_request_carries_the_headers() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("KEY", "s3cr3t-key: with colon");
    let daemon = TestDaemon::start(&home, &[]);
    let file = home.folder().join("headers");
    std::fs::write(&file, "# a comment\n\nX-From-File: s3cr3t-file ${KEY}\r\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let url = upstream.url();
    one_shot(
        &home,
        &[
            "--header",
            "Authorization: Bearer ${KEY}",
            &url,
            "--header-file",
            file,
        ],
    );
    upstream.wait_for_streams(1);
    assert_eq!(daemon.terminate(), 0);
    let requests = upstream.requests();
    assert_eq!(requests.len(), 5);
    for request in requests {
        let authorization = request.header("Authorization");
        assert_eq!(
            authorization,
            Some("Bearer s3cr3t-key: with colon"),
            "{request:?}"
        );
        let file = request.header("X-From-File");
        assert_eq!(
            file,
            Some("s3cr3t-file s3cr3t-key: with colon"),
            "{request:?}"
        );
    }
}

#[test]
fn an_unset_variable_is_one_warning_and_left_as_it_is() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let finished = one_shot(&home, &[&upstream.url(), "--header", "X-Key: ${NOT_SET}!"]);
    assert!(one_sentence(&finished.stderr).contains("NOT_SET"));
    assert_eq!(upstream.requests()[0].header("X-Key"), Some("${NOT_SET}!"));
}

#[test]
fn a_redirect_within_the_origin_is_followed_with_everything() {
    for status in [307, 308] {
        let upstream = FakeUpstream::scripted(move |request| {
            let moved = request.target == "/old";
            moved.then(|| hostile::redirect(status, "/mcp"))
        });
        let home = TestHome::new();
        let old = format!("{}/old", upstream.origin());
        one_shot(&home, &[&old, "--header", "X-Key: s3cr3t-redirect"]);
        let requests = upstream.requests();
        let arrived = requests.iter().filter(|request| request.target == "/mcp");
        let mut arrived = arrived.filter(|request| request.method == "POST");
        assert!(arrived.all(|request| request.header("X-Key") == Some("s3cr3t-redirect")));
        assert!(upstream.sessions_made() == 1);
    }
}

#[test]
fn a_redirect_to_another_origin_is_an_error_and_nothing_goes_there() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = FakeUpstream::start();
        let away = elsewhere.url();
        let upstream = FakeUpstream::scripted(move |_| Some(hostile::redirect(status, &away)));
        let home = TestHome::new();
        let mut shim = home.shim(&[&upstream.url(), "--header", "X-Key: s3cr3t-redirect"]);
        let answer = shim.handshake();
        our_error(&answer, 0);
        assert!(!answer.to_string().contains("s3cr3t"), "{answer}");
        assert_eq!(elsewhere.labels(), Vec::<String>::new(), "after {status}");
        assert!(!shim.stderr().contains("s3cr3t"));
    }
}

#[test]
fn a_redirect_to_another_host_name_of_the_same_machine_is_another_origin() {
    let elsewhere = FakeUpstream::start();
    let away = elsewhere.url().replace("127.0.0.1", "localhost");
    elsewhere.script(move |request| {
        let first = request.target == "/old";
        first.then(|| hostile::redirect(307, &away))
    });
    let home = TestHome::new();
    let mut shim = home.shim(&[&format!("{}/old", elsewhere.origin())]);
    our_error(&shim.handshake(), 0);
    assert_eq!(elsewhere.requests().len(), 1);
}

#[test]
fn a_circle_of_redirects_ends() {
    let upstream = FakeUpstream::scripted(|_| Some(hostile::redirect(307, "/mcp")));
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    our_error(&shim.handshake(), 0);
    assert!(upstream.requests().len() < 25);
}

#[test]
fn a_value_with_a_line_break_is_refused_and_not_shown() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    for evil in ["s3cr3t-\r\nX-Evil: 1", "s3cr3t-\n", "\rs3cr3t-"] {
        home.set("EVIL", evil);
        let finished = home.run(&[&upstream.url(), "--header", "X-Key: a${EVIL}b"]);
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains("X-Key"), "{finished:?}");
        assert!(!finished.stderr.contains("s3cr3t"), "{finished:?}");
    }
    assert_eq!(upstream.labels(), Vec::<String>::new());
}

#[test]
fn headers_of_the_protocol_are_ours() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    for name in ["Mcp-Session-Id", "Content-Length", "Transfer-Encoding"] {
        let header = format!("{name}: 1");
        let mut shim = home.shim(&[&upstream.url(), "--header", &header]);
        shim.handshake_with(mcp_remote_tests::shim::INITIALIZE);
        // Either refused or ignored, but never sent: the fake would complain.
        shim.close_stdin();
        shim.wait();
    }
}
