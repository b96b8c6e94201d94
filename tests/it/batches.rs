//! A batch is answered element by element: a bad one costs itself only.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;

use crate::support::{attached, messages};

/// Sends lines after a handshake and ends; returns every answer, of batches too.
#[track_caller]
fn answers_to(lines: &[&str]) -> Vec<Value> {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for line in lines {
        shim.send(line);
    }
    shim.close_stdin();
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    let flat = messages(&shim.rest())
        .into_iter()
        .flat_map(|message| match message {
            Value::Array(elements) => elements,
            message => vec![message],
        });
    flat.collect()
}

#[track_caller]
fn of<'a>(answers: &'a [Value], id: &Value) -> &'a Value {
    let found: Vec<_> = answers
        .iter()
        .filter(|answer| answer["id"] == *id)
        .collect();
    assert_eq!(found.len(), 1, "answers to {id}: {answers:?}");
    found[0]
}

#[test]
fn a_bad_element_costs_itself_only() {
    for bad in ["42", "{}", "null", "[]", r#"{"jsonrpc":"2.0","id":null}"#] {
        let line = format!(r#"[{{"jsonrpc":"2.0","id":7,"method":"ping"}},{bad}]"#);
        let answers = answers_to(&[&line]);
        assert_eq!(answers.len(), 2, "{bad}: {answers:?}");
        assert_eq!(
            of(&answers, &Value::from(7))["result"],
            Value::Object(Default::default())
        );
        let refusal = of(&answers, &Value::Null);
        assert_eq!(refusal["error"]["code"], -32600, "{bad}: {refusal}");
    }
}

#[test]
fn an_empty_batch_is_refused() {
    let answers = answers_to(&["[]"]);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(of(&answers, &Value::Null)["error"]["code"], -32600);
}

#[test]
fn a_request_that_is_refused_is_answered_once() {
    for line in [
        r#"{"jsonrpc":"2.0","id":7,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":tru}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\",\"params\":\"\u{1}\"}",
    ] {
        let answers = answers_to(&[line]);
        assert_eq!(answers.len(), 1, "{line}: {answers:?}");
        let code = &answers[0]["error"]["code"];
        assert!(*code == -32600 || *code == -32700, "{line}: {answers:?}");
    }
}
