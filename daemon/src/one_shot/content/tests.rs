use super::*;

fn parts(result: &str) -> (bool, Vec<String>) {
    let raw: Box<RawValue> = serde_json::from_str(result).expect("valid");
    let read = read(&raw);
    let text = |said: Said| match said {
        Said::Text(text) => format!("text {text}"),
        Said::Json(json) => format!("json {}", String::from_utf8_lossy(&json)),
        Said::Failure(text) => format!("failure {text}"),
        Said::File(file) => format!(
            "file {} {} {}",
            file.mime_type,
            file.name,
            String::from_utf8_lossy(&file.content)
        ),
        other => format!("{other:?}"),
    };
    (read.failed, read.parts.into_iter().map(text).collect())
}

#[test]
fn content_is_shown_by_its_kind() {
    let (failed, parts) = parts(
        r#"{"content":[{"type":"text","text":"a\nb"},{"type":"image","data":"aGk","mimeType":"image/png"},
        {"type":"audio","data":"aGk=\n","mimeType":"audio/wav"},
        {"type":"resource","resource":{"uri":"x://y/a.bin?q","blob":"aGk="}},
        {"type":"resource","resource":{"uri":"x://y","text":"t"}},
        {"type":"resource_link","uri":"x://z","name":"Z"},
        {"type":"image","data":"%","mimeType":"image/png"},
        {"type":"new","n":9007199254740993}]}"#,
    );
    assert!(!failed);
    assert_eq!(
        parts,
        [
            "text a\nb",
            "file image/png image hi",
            "file audio/wav audio hi",
            "file  a.bin hi",
            "text t",
            "text Z: x://z",
            r#"json {"type":"image","data":"%","mimeType":"image/png"}"#,
            r#"json {"type":"new","n":9007199254740993}"#,
        ]
    );
}

#[test]
fn structured_content_alone_is_json_and_failures_are_failures() {
    let structured = r#"{"structuredContent":{"n":9007199254740993},"content":[]}"#;
    assert_eq!(
        parts(structured),
        (false, vec![r#"json {"n":9007199254740993}"#.to_owned()])
    );
    let failed = r#"{"isError":true,"content":[{"type":"text","text":"no"}]}"#;
    assert_eq!(parts(failed), (true, vec!["failure no".to_owned()]));
    assert_eq!(parts(r#"{"isError":true}"#).1.len(), 1);
    assert_eq!(parts("{}"), (false, vec![]));
    assert_eq!(parts("[1]").1, ["json [1]"]);
}
