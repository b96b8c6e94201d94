//! Certificates: the system's, `--ca-file` besides, `SSL_CERT_FILE` instead.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{Config, FakeUpstream};

use crate::support::{messages, one_sentence, one_shot, our_error};

fn upstream(authority: &TestCa) -> FakeUpstream {
    FakeUpstream::with(Config {
        tls: Some(authority.server()),
        ..Config::default()
    })
}

#[test]
fn a_ca_file_is_trusted() {
    let authority = TestCa::new();
    let upstream = upstream(&authority);
    let home = TestHome::new();
    let file = authority.write(home.folder());
    let file = file.to_str().expect("UTF-8");
    one_shot(&home, &[&upstream.url(), "--ca-file", file]);
    // A relative path is the shim's, whose folder the daemon does not share.
    one_shot(&home, &[&upstream.url(), "--ca-file", "test-authority.pem"]);
    assert_eq!(
        upstream.sessions_made(),
        1,
        "the same file is the same identity"
    );
}

#[test]
fn ssl_cert_file_is_trusted() {
    let authority = TestCa::new();
    let upstream = upstream(&authority);
    let mut home = TestHome::new();
    let file = authority.write(home.folder());
    home.set("SSL_CERT_FILE", file);
    one_shot(&home, &[&upstream.url()]);
}

#[test]
fn what_node_trusts_besides_is_trusted() {
    let authority = TestCa::new();
    let upstream = upstream(&authority);
    let mut home = TestHome::new();
    let file = authority.write(home.folder());
    home.set("NODE_EXTRA_CA_CERTS", file.clone());
    one_shot(&home, &[&upstream.url()]);
    let flag = ["--ca-file", file.to_str().expect("UTF-8")];
    home.set("NODE_EXTRA_CA_CERTS", "/nonexistent/ca.pem");
    let plain = FakeUpstream::start();
    one_shot(&home, &[&plain.url()]);
    one_shot(&home, &[&[upstream.url().as_str()][..], &flag].concat());
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn an_unknown_authority_is_one_sentence_and_an_error_for_every_request() {
    let authority = TestCa::new();
    let upstream = upstream(&authority);
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    let error = our_error(&shim.handshake(), 0);
    let cause = error["data"]["cause"]
        .as_str()
        .expect("a cause")
        .to_lowercase();
    assert!(cause.contains("certificate"), "{error}");
    our_error(&shim.call("echo", "{}"), 1);
    shim.close_stdin();
    shim.wait();
    assert!(one_sentence(&shim.stderr()).contains("localhost"));
    assert_eq!(upstream.labels(), Vec::<String>::new());
}

#[test]
fn another_authority_is_not_enough() {
    let upstream = upstream(&TestCa::new());
    let home = TestHome::new();
    let file = TestCa::new().write(home.folder());
    let file = file.to_str().expect("UTF-8");
    let mut shim = home.shim(&[&upstream.url(), "--ca-file", file]);
    our_error(&shim.handshake(), 0);
    assert_eq!(upstream.labels(), Vec::<String>::new());
}

#[test]
fn a_certificate_file_that_cannot_be_read_is_named() {
    let upstream = upstream(&TestCa::new());
    let home = TestHome::new();
    let finished = home.run_with(
        &[&upstream.url(), "--ca-file", "/nonexistent/ca.pem"],
        &mcp_remote_tests::shim::conversation("x"),
    );
    assert!(
        finished.stderr.contains("/nonexistent/ca.pem"),
        "{finished:?}"
    );
    for answer in messages(&finished.stdout) {
        let id = answer["id"].clone();
        our_error(&answer, id);
    }
}

#[test]
fn plain_bytes_instead_of_tls_are_an_error() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream
        .url()
        .replace("http://127.0.0.1", "https://localhost");
    let mut shim = home.shim(&[&url]);
    our_error(&shim.handshake(), 0);
}
