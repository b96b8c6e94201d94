//! The grammar of `call`: what is ours, and what is the tool's.

use super::*;

fn call(line: &[&str]) -> CallArguments {
    match parsed(line).invocation {
        Ok(Invocation::Call(arguments)) => *arguments,
        other => panic!("{line:?} gave {other:?}"),
    }
}

#[test]
fn what_stands_behind_the_tool_is_the_tools() {
    let words = [
        "--help", "--silent", "--header", "x", "--json=5", "--", "word",
    ];
    let line = [
        &["--debug", "call", "--ca-file", "/c", URL, "t"][..],
        &words,
    ]
    .concat();
    let arguments = call(&line);
    assert_eq!(
        (arguments.tool.as_str(), arguments.words),
        ("t", words.map(String::from).to_vec())
    );
    assert_eq!(arguments.server.url, URL);
    assert_eq!(arguments.server.ca_file, Some("/c".into()));
    assert!(arguments.server.headers.is_empty() && arguments.server.debug);
    assert!(arguments.json.is_none() && !arguments.as_json);
    assert!(!parsed(&line).volume.silent);
    let help = parsed(&["call", "--help", URL, "t"]).invocation;
    assert_eq!(
        help,
        Ok(Invocation::HelpOn(
            table::find("call").expect("it is there")
        ))
    );
}

#[test]
fn all_arguments_at_once_may_stand_on_either_side_of_the_tool() {
    for line in [
        &["call", "--json", "{}", URL, "t"][..],
        &["call", URL, "--json={}", "t"],
        &["call", URL, "t", "--json", "{}"],
        &["call", URL, "t", "--json={}"],
    ] {
        let arguments = call(line);
        assert_eq!(arguments.json.as_deref(), Some("{}"), "{line:?}");
        assert!(arguments.words.is_empty(), "{line:?}");
    }
    for line in [
        &["call", URL, "t", "--", "--json", "{}"][..],
        &["call", URL, "t", "--json", "text"],
    ] {
        let arguments = call(line);
        assert_eq!(arguments.json, None, "{line:?}");
        assert!(!arguments.words.is_empty(), "{line:?}");
    }
    assert!(refused(&["call", URL, "t", "--json", "{}", "--a", "1"]).contains("--json"));
    assert!(refused(&["call", "--output", "xml", URL, "t"]).contains("--output"));
}

#[test]
fn lists_are_kept_as_long_as_is_said() {
    for (flag, kept) in [
        ("never", "never"),
        ("certain", "certain"),
        ("60", "60"),
        ("no", ""),
    ] {
        let (arguments, warnings) = bridge(&[URL, "--cache-lists", flag]);
        assert_eq!(arguments.cache_lists, kept);
        assert_eq!(warnings.len(), usize::from(kept.is_empty()));
    }
    assert_eq!(warnings(&[URL, "--save-to", "x"]).len(), 1);
}
