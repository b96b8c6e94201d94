//! `--ignore-tool`: what a client does not see and cannot call.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::call_line;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::attached;

const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;

const KEPT: &str = r#"{"name":"echo", "n":9007199254740993,"inputSchema":{"type":"object"}}"#;

fn server() -> FakeUpstream {
    let upstream = FakeUpstream::start();
    upstream.answer(
        "tools/list",
        &format!(
            r#"{{"x":1e2,"tools":[{{"name":"delete_all"}},{KEPT},{{"name":"Drop"}}],"nextCursor":"c"}}"#
        ),
    );
    upstream
}

#[test]
fn a_hidden_tool_is_not_listed_and_the_others_stay_byte_for_byte() {
    let upstream = server();
    let home = TestHome::new();
    let flags = ["--ignore-tool", "DELETE*", "--ignore-tool=drop"];
    let mut shim = attached(&home, &[&[upstream.url().as_str()][..], &flags].concat());
    shim.send(LIST);
    let expected = format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"x":1e2,"tools":[{KEPT}],"nextCursor":"c"}}}}"#
    );
    assert_eq!(shim.line(), expected);
}

#[test]
fn a_hidden_tool_is_not_called() {
    let upstream = server();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--ignore-tool", "delete*"]);
    shim.send(&call_line(r#""a""#, "Delete_\\\"all", "{}"));
    assert_eq!(
        shim.line(),
        r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32603,"message":"Tool \"Delete_\"all\" is not available"}}"#
            .replace(r#"_"all"#, r#"_\"all"#)
    );
    shim.echo("others are");
    assert_eq!(upstream.count("POST tools/call"), 1);
}

#[test]
fn the_configuration_hides_tools_unless_the_command_line_says_which() {
    let upstream = server();
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.work]\nurl = \"{}\"\nignore_tools = [\"delete*\"]\n",
        upstream.url()
    ));
    let mut shim = attached(&home, &["work"]);
    shim.send(LIST);
    assert!(!shim.line().contains("delete_all"));
    assert_eq!(shim.finish(), 0);
    let mut shim = attached(&home, &["work", "--ignore-tool", "drop"]);
    shim.send(LIST);
    let list = shim.line();
    assert!(list.contains("delete_all") && !list.contains("Drop"));
}

#[test]
fn who_hides_a_tool_shares_the_session_with_who_does_not() {
    let upstream = server();
    let home = TestHome::new();
    let url = upstream.url();
    let hiding = attached(&home, &[&url, "--ignore-tool", "*"]);
    assert_eq!(hiding.finish(), 0);
    let mut shim = attached(&home, &[&url]);
    shim.send(LIST);
    assert!(shim.line().contains("delete_all"));
    shim.echo("and it is called");
    assert_eq!(upstream.sessions_made(), 1);
}
