//! From text to text.

use super::*;
use crate::configuration::parse::parse;

const FILE: &str = "\
# My servers.
[defaults]
transport = \"http-only\" # faster

# The one at work.
[servers.work]
url = \"https://work.example.com/mcp\"

# The other one.
[servers.other]
url = \"https://other.example.com/mcp\"
";

fn settings(flags: &[(&str, &str)]) -> Vec<Setting> {
    let setting = |(flag, value): &(&str, &str)| Setting {
        flag: (*flag).to_owned(),
        value: (*value).to_owned(),
    };
    flags.iter().map(setting).collect()
}

#[test]
fn a_server_is_added_at_the_end_and_all_else_stays() {
    let flags = [
        ("header", "X-One: 1"),
        ("header", "X-Two: a"),
        ("header", "X-Two: b"),
        ("header-file", "/h"),
        ("transport", "sse-only"),
        ("transport", "http-only"),
        ("request-timeout", "1.5"),
        ("callback-port", "9696"),
        ("authorize-param", "a=b=c"),
        ("cache-lists", "certain"),
        ("ignore-tool", "delete_*"),
        ("warm", ""),
    ];
    let text = add(FILE, "new", "https://n/", &settings(&flags), false).expect("it is new");
    let expected = format!(
        "{FILE}
[servers.new]
url = \"https://n/\"
headers = {{ X-One = \"1\", X-Two = [\"a\", \"b\"] }}
header_file = [\"/h\"]
transport = \"sse-only\"
request_timeout = 1.5
callback_port = 9696
authorize_params = {{ a = \"b=c\" }}
cache_lists = \"certain\"
ignore_tools = [\"delete_*\"]
warm = true
"
    );
    assert_eq!(text, expected);
    let again = add(&text, "new", "https://n/", &[], false).expect_err("it is there");
    assert!(again.contains("mcp-remote remove new") && again.contains("--replace"));
    assert!(add(&text, "new", "https://m/", &[], true).is_ok());
    assert!(parse(&text).is_ok());
}

#[test]
fn an_empty_file_gets_its_first_server() {
    let text = add("", "a", "https://a/", &[], false).expect("it is new");
    assert_eq!(text, "[servers.a]\nurl = \"https://a/\"\n");
}

#[test]
fn a_server_is_replaced_where_it_stands() {
    let text = add(FILE, "work", "https://w/", &[], true).expect("it may be");
    let expected = FILE.replace("https://work.example.com/mcp", "https://w/");
    assert_eq!(text, expected);
}

#[test]
fn a_server_goes_with_the_comment_above_it() {
    let text = remove(FILE, "work").expect("it is there");
    let expected = FILE.replace(
        "# The one at work.\n[servers.work]\nurl = \"https://work.example.com/mcp\"\n\n",
        "",
    );
    assert_eq!(text, expected);
    assert!(remove(FILE, "none").is_err());
    let apart = FILE.replace("# The one at work.", "# Below: work.\n\n# The one at work.");
    let text = remove(&apart, "work").expect("it is there");
    assert!(
        text.contains("# Below: work.\n\n# The other one.\n[servers.other]"),
        "{text}"
    );
    let text = add("# Mine.\n", "a", "https://a/", &[], false).expect("it is new");
    assert_eq!(remove(&text, "a").as_deref(), Ok("# Mine.\n"), "{text}");
    let inline = "servers = { a = { url = \"https://a/\" } }\n";
    let text = add(inline, "b", "https://b/", &[], false).expect("it is new");
    assert!(parse(&text).is_ok(), "{text}");
    assert!(
        !remove(&text, "a")
            .expect("it is there")
            .contains("https://a/")
    );
}

#[test]
fn line_ends_stay_and_hide_no_comment() {
    let windows = |text: &str| text.replace('\n', "\r\n");
    let apart = FILE.replace("# The one at work.", "# Below: work.\n\n# The one at work.");
    for text in [FILE, &apart, ""] {
        let new = |text: &str| add(text, "new", "https://n/", &[], false);
        let expected = new(text).expect("it is new");
        if !text.is_empty() {
            assert_eq!(new(&windows(text)), Ok(windows(&expected)));
        }
        for name in ["work", "other"] {
            let expected = remove(text, name).map(|text| windows(&text));
            assert_eq!(remove(&windows(text), name), expected);
            let replaced = |text: &str| add(text, name, "https://n/", &[], true);
            let expected = replaced(text).map(|text| windows(&text));
            if !text.is_empty() {
                assert_eq!(replaced(&windows(text)), expected);
            }
        }
    }
}

#[test]
fn however_a_server_is_written_it_can_be_replaced() {
    for text in [
        "[servers]\n# one\na = { url = \"https://a/\" } # two\n",
        "# one\n[servers]\na.url = \"https://a/\" # two\n",
        "# one two\nservers.a.url = \"https://a/\"\n",
        "# one\nservers = { a = { url = \"https://a/\" } } # two\n",
        "# one two\n[servers.a]\nurl = \"https://a/\"\n[servers.b]\nurl = \"https://b/\"\n",
    ] {
        assert!(has(text, "a") && !has(text, "c"));
        let text = add(text, "a", "https://n/", &[], true).expect("it may be");
        let parsed = parse(&text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        let url = parsed.document.servers["a"].url.as_deref();
        assert_eq!(url, Some("https://n/"), "{text}");
        assert!(text.contains("one"), "{text}");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_and_not_repeated() {
    for (flag, text) in [
        ("drain-timeout", "1"),
        ("nonsense", "s3cret"),
        ("header", "s3cret"),
        ("authorize-param", "s3cret"),
        ("request-timeout", "s3cret"),
        ("request-timeout", "-1"),
    ] {
        let sentence = add(FILE, "n", "https://n/", &settings(&[(flag, text)]), false);
        let sentence = sentence.expect_err(flag);
        assert!(sentence.contains(flag), "{sentence}");
        assert!(!sentence.contains("s3cret"), "{sentence}");
    }
}

#[test]
fn every_flag_that_is_kept_is_a_key() {
    for (flag, key, kind) in FLAGS {
        let text = match (*key, kind) {
            ("transport", _) => "sse-only",
            ("reuse" | "dpop", _) => "never",
            ("subject_token_type", _) => "id-token",
            (_, Kind::Header) => "A: b",
            (_, Kind::Parameter) => "a=b",
            _ => "1",
        };
        let text = add("", "a", "https://a/", &settings(&[(flag, text)]), false);
        let text = text.unwrap_or_else(|error| panic!("{flag}: {error}"));
        assert!(text.contains(&format!("{key} = ")), "{text}");
        if let Err(wrong) = parse(&text) {
            panic!("{flag}: {wrong:?}");
        }
    }
}

#[test]
fn sentences_about_flags_become_sentences_about_keys() {
    let said = in_keys("the value of --host is not a host, see --callback-path");
    let expected = "the value of callback_host is not a host, see callback_path";
    assert_eq!(said, (expected.to_owned(), Some("callback_host")));
    assert_eq!(in_keys("nothing").1, None);
    let said = in_keys("--static-oauth-client-info and --resource");
    assert_eq!(said.1, Some("static_oauth_client_info"));
}
