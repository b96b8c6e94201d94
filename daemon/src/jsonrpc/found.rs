//! Tests of what fuzzing found.

use super::*;

fn parse(bytes: impl AsRef<[u8]>) -> Result<Envelope, ParseError> {
    Envelope::parse(Bytes::copy_from_slice(bytes.as_ref()))
}

#[test]
fn a_message_is_utf8_also_where_nobody_looks() {
    let beside = parse(b"{\"method\":\"x\",\"v\":\"\xff\"}");
    assert!(matches!(beside, Err(ParseError::NotJson(_))), "{beside:?}");
}

#[test]
fn an_array_is_no_message() {
    let array = parse(r#" ["1","x"]"#);
    assert!(matches!(array, Err(ParseError::Invalid(_))), "{array:?}");
}

#[test]
fn a_progress_token_is_found_however_its_name_is_written() {
    let text = r#"{"id":1,"method":"x","params":{"_meta":{"progress\u0054oken":7}}}"#;
    let envelope = parse(text).expect("valid");
    let token = envelope.request_progress_token().expect("has a token");
    assert_eq!(envelope.text(token), "7");
}

#[test]
fn arrays_are_not_taken_for_objects() {
    for params in ["[[7]]", r#"{"_meta":[7]}"#, "[7]"] {
        let envelope =
            parse(format!(r#"{{"id":1,"method":"x","params":{params}}}"#)).expect("valid");
        assert_eq!(envelope.request_progress_token(), None, "{params}");
        assert_eq!(envelope.progress_token(), None, "{params}");
        assert_eq!(envelope.cancelled_request(), None, "{params}");
    }
}
