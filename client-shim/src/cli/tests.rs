//! The grammar, case by case.

use std::time::Duration;

use mcp_remote_proto::v1::{Reuse, Transport};

use super::*;
use crate::exit::Exit;

mod call;
mod described;

fn parsed(line: &[&str]) -> Parsed {
    parse(line.iter().map(OsString::from))
}

fn bridge(line: &[&str]) -> (BridgeArguments, Vec<String>) {
    let parsed = parsed(line);
    match parsed.invocation {
        Ok(Invocation::Bridge(arguments)) => (*arguments, parsed.warnings),
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn warnings(line: &[&str]) -> Vec<String> {
    bridge(line).1
}

fn refused(line: &[&str]) -> String {
    let error = parsed(line).invocation.expect_err("a usage error");
    assert_eq!(error.exit, Exit::USAGE, "{line:?}");
    error.sentence
}

const URL: &str = "https://h/mcp";

#[test]
fn a_url_is_enough() {
    let (arguments, warnings) = bridge(&[URL]);
    assert_eq!(arguments.url, URL);
    assert_eq!(arguments.drain_timeout, Duration::from_secs(30));
    assert_eq!(arguments.transport, Transport::Unspecified);
    assert_eq!(arguments.reuse, Reuse::Unspecified);
    assert!(warnings.is_empty());
}

#[test]
fn flags_stand_anywhere_and_take_their_value_either_way() {
    for line in [
        &["--header", "A: b", URL, "--ca-file=/c", "--allow-http"][..],
        &["--allow-http", "--ca-file", "/c", "--header=A: b", URL],
        &[
            URL,
            "9696",
            "--header",
            "A: b",
            "--ca-file",
            "/c",
            "--allow-http",
        ],
    ] {
        let (arguments, warnings) = bridge(line);
        assert_eq!(arguments.headers, [Source::Argument("A: b".into())]);
        assert_eq!(arguments.ca_file, Some("/c".into()));
        assert!(arguments.allow_http);
        assert!(warnings.is_empty(), "{line:?}: {warnings:?}");
    }
}

#[test]
fn a_header_may_look_like_anything() {
    let (arguments, _) = bridge(&[URL, "--header", "https://not-the-url", "--header", "status"]);
    assert_eq!(arguments.url, URL);
    assert_eq!(arguments.headers.len(), 2);
}

#[test]
fn the_first_of_a_flag_wins() {
    let (arguments, _) = bridge(&[URL, "--transport", "sse-only", "--transport=http-only"]);
    assert_eq!(arguments.transport, Transport::SseOnly);
}

#[test]
fn an_unknown_flag_is_one_warning() {
    assert_eq!(warnings(&["--x", URL]), ["unknown flag --x is ignored"]);
    assert_eq!(warnings(&["--x=1", URL]), ["unknown flag --x is ignored"]);
    assert_eq!(
        warnings(&["--json", URL]),
        ["unknown flag --json is ignored"]
    );
}

#[test]
fn an_unknown_flag_takes_its_value_along_but_never_the_url() {
    for line in [
        &["--x", URL][..],
        &["--x", "s3cret", URL],
        &[URL, "--x", "s3cret"],
        &[URL, "--x", "https://value/"],
        &[URL, "--x", "-s3cret"],
        &["--x=s3cret", URL],
    ] {
        let (arguments, warnings) = bridge(line);
        assert_eq!(arguments.url, URL, "{line:?}");
        assert_eq!(warnings, ["unknown flag --x is ignored"], "{line:?}");
    }
    let (arguments, warnings) = bridge(&[URL, "--x", "--allow-http"]);
    assert!(arguments.allow_http);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    for line in [
        &[URL, "s3cret"][..],
        &[URL, "-s3cret"],
        &[URL, "--S3cret_s3cret"],
        &[URL, "https://user:s3cret@h/"],
        &[URL, "--transport", "s3cret"],
        &[URL, "--drain-timeout", "s3cret"],
        &[URL, "--transport", "--header", "Authorization: s3cret"],
    ] {
        let warnings = warnings(line).join("\n");
        assert!(!warnings.is_empty(), "{line:?}");
        assert!(!warnings.contains("s3cret"), "{warnings}");
    }
    for line in [
        &["https:/user:s3cret@h"][..],
        &["status", "a", "s3cret"],
        &["stop", "s3cret"],
        &["stop", "-s3cret"],
    ] {
        assert!(!refused(line).contains("s3cret"), "{line:?}");
    }
}

#[test]
fn a_flag_of_the_npm_package_takes_its_value_along() {
    for line in [
        &["--token-endpoint", "https://api/", URL][..],
        &["--token-endpoint=https://api/", URL],
    ] {
        let (arguments, warnings) = bridge(line);
        assert_eq!(warnings, [""; 0]);
        assert_eq!(arguments.url, URL);
        let endpoint = arguments.auth.token_endpoint.as_deref();
        assert_eq!(endpoint, Some("https://api/"));
    }
    for flag in ["--token-endpoint", "--client-key", "--bearer-token-file"] {
        for line in [[URL, flag], [URL, &format!("{flag}=")]] {
            let sentence = refused(&line);
            assert!(sentence.contains("needs a value"), "{sentence}");
        }
    }
}

/// Every flag of the npm package, with a value where it takes one, and how many
/// warnings there are.
const OF_THE_NPM_PACKAGE: &[(&[&str], usize)] = &[
    (&["--header", "A: b"], 0),
    (&["--header-file", "/f"], 0),
    (&["--transport", "http-first"], 0),
    (&["--protocol", "legacy"], 0),
    (&["--protocol", "auto"], 1),
    (&["--allow-http"], 0),
    (&["--debug"], 0),
    (&["--silent"], 0),
    (&["--host", "127.0.0.1"], 0),
    (&["--callback-path", "/cb"], 0),
    (&["--auth-success-url", "https://h/"], 0),
    (&["--auth-timeout", "60"], 0),
    (&["--static-oauth-client-metadata", "{}"], 0),
    (&["--static-oauth-client-info", "{}"], 0),
    (&["--client-metadata-url", "https://h/c"], 0),
    (&["--resource", "https://h/"], 0),
    (&["--disable-resource-parameter"], 0),
    (&["--authorize-param", "a=b"], 0),
    (&["--use-id-token"], 0),
    (&["--client-credentials"], 0),
    (&["--token-endpoint", "https://h/t"], 0),
    (&["--device-code"], 0),
    (&["--enable-proxy"], 0),
    (&["--connect-timeout", "5"], 0),
    (&["--headers-timeout", "5"], 0),
    (&["--body-timeout", "5"], 0),
    (&["--keep-alive"], 0),
    (&["--ping-interval", "5"], 0),
    (&["--ipv4"], 0),
    (&["--disable-cookies"], 0),
    (&["--ignore-tool", "x*"], 0),
];

#[test]
fn every_flag_of_the_npm_package_is_known() {
    for (flag, expected) in OF_THE_NPM_PACKAGE {
        for line in [[&[URL], *flag].concat(), [*flag, &[URL]].concat()] {
            let (arguments, warnings) = bridge(&line);
            assert_eq!(arguments.url, URL, "{line:?}");
            assert_eq!(warnings.len(), *expected, "{line:?}: {warnings:?}");
            assert!(
                !warnings
                    .iter()
                    .any(|warning| warning.starts_with("unknown"))
            );
        }
    }
    let (arguments, _) = bridge(&[URL, "--ignore-tool", "a*", "--ignore-tool=b", "--ipv4"]);
    assert_eq!(arguments.connection.ignore_tools, ["a*", "b"]);
    assert!(arguments.connection.ipv4 && !arguments.connection.disable_cookies);
}

#[test]
fn adopt_has_its_own_flags() {
    let adopt = |line: &[&str]| match parsed(line).invocation {
        Ok(Invocation::Adopt(arguments)) => (arguments.seat, arguments.undo),
        other => panic!("{line:?} gave {other:?}"),
    };
    assert_eq!(adopt(&["adopt"]), (None, false));
    assert_eq!(adopt(&["adopt", "--npx"]), (Some(Seat::Npx), false));
    assert_eq!(
        adopt(&["adopt", "--undo", "--global"]),
        (Some(Seat::Global), true)
    );
    assert!(refused(&["adopt", "--npx", "--global"]).starts_with("adopt takes one of"));
    assert!(refused(&["adopt", "now"]).starts_with("the argument in position 2"));
    assert!(refused(&["adopt", "--json"]).starts_with("the flag --json means nothing"));
    assert!(refused(&["stop", "--undo"]).starts_with("the flag --undo means nothing"));
    assert_eq!(warnings(&[URL, "--npx"]), ["unknown flag --npx is ignored"]);
}

#[test]
fn bad_values_fall_back_with_a_warning() {
    let (arguments, warnings) = bridge(&[URL, "--transport", "nonsense", "--drain-timeout", "-1"]);
    assert_eq!(arguments.transport, Transport::Unspecified);
    assert_eq!(arguments.drain_timeout, Duration::from_secs(30));
    assert_eq!(warnings.len(), 2);
    let (arguments, warnings) = bridge(&[URL, "--drain-timeout", "0.5", "--ca-file"]);
    assert_eq!(arguments.drain_timeout, Duration::from_millis(500));
    assert_eq!(warnings, ["--ca-file needs a value and is ignored"]);
}

#[test]
fn a_request_waits_for_ever_unless_told_otherwise() {
    let timeout = |line: &[&str]| bridge(line).0.request_timeout;
    assert_eq!(timeout(&[URL]), None);
    let none = timeout(&[URL, "--request-timeout", "0"]);
    assert_eq!(none, Some(Duration::ZERO));
    let given = ["--request-timeout=1.5", URL, "--request-timeout", "9"];
    assert_eq!(timeout(&given), Some(Duration::from_millis(1500)));
    let (arguments, warnings) = bridge(&[URL, "--request-timeout", "-1"]);
    assert_eq!((arguments.request_timeout, warnings.len()), (None, 1));
}

#[test]
fn a_switch_with_a_value_is_not_switched_on() {
    let (arguments, warnings) = bridge(&[URL, "--allow-http=false"]);
    assert!(!arguments.allow_http);
    assert_eq!(warnings, ["--allow-http takes no value and is ignored"]);
}

#[test]
fn flags_about_signing_in_go_with_any_server() {
    let flags = [
        "9696",
        "--resource",
        "https://api/",
        "--no-browser",
        "--use-id-token",
        "--device",
        "--non-interactive",
    ];
    for command in [None, Some("login"), Some("logout")] {
        let line = [command.as_slice(), &[URL], &flags].concat();
        let parsed = parsed(&line);
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        let arguments = match parsed.invocation {
            Ok(Invocation::Bridge(arguments) | Invocation::Login(arguments)) => arguments,
            Ok(Invocation::Logout { server, all }) => {
                assert!(!all);
                server.expect("one server")
            }
            other => panic!("{line:?} gave {other:?}"),
        };
        assert_eq!(arguments.url, URL);
        assert_eq!(arguments.auth.callback_port, Some(9696));
        assert_eq!(arguments.auth.resource.as_deref(), Some("https://api/"));
        assert!(arguments.auth.no_browser && arguments.auth.use_id_token);
        assert!(arguments.auth.device_code && arguments.auth.non_interactive);
    }
    assert_eq!(
        warnings(&[URL, "--authorize-param", "s3cret"]),
        ["the value of --authorize-param is not name=value and is ignored"]
    );
}

#[test]
fn a_port_is_accepted_and_another_word_is_not() {
    assert!(warnings(&[URL, "9696"]).is_empty());
    assert_eq!(
        warnings(&[URL, "word"]),
        ["the argument in position 2 is not a flag and is ignored"]
    );
}

#[test]
fn help_and_version_win_anywhere() {
    for line in [
        &["--help"][..],
        &["a", "b", "-h"],
        &[URL, "status", "--help"],
    ] {
        assert_eq!(parsed(line).invocation, Ok(Invocation::Help), "{line:?}");
    }
    let line = [URL, URL, "--version"];
    assert_eq!(parsed(&line).invocation, Ok(Invocation::Version));
}

#[test]
fn no_url_is_a_usage_error() {
    let sentence = "the server's URL or name is missing\nmcp-remote --help says how it is meant";
    assert_eq!(refused(&[]), sentence);
    assert!(
        refused(&["--debug", "git/hub"]).starts_with(
            "the argument in position 2 is neither a server's URL or name nor a command"
        )
    );
}

#[test]
fn a_name_stands_where_a_url_does() {
    let (arguments, warnings) = bridge(&["--debug", "github", "9696"]);
    assert_eq!(arguments.url, "github");
    assert_eq!(arguments.auth.callback_port, Some(9696));
    assert!(warnings.is_empty());
    for command in ["login", "logout"] {
        assert!(parsed(&[command, "github"]).invocation.is_ok());
    }
    let remove = Invocation::Remove("github".into());
    assert_eq!(parsed(&["remove", "github"]).invocation, Ok(remove));
    assert_eq!(parsed(&["reload"]).invocation, Ok(Invocation::Reload));
    let list = Invocation::List { json: true };
    assert_eq!(parsed(&["list", "--json"]).invocation, Ok(list));
    for line in [
        &["remove"][..],
        &["remove", "a b"],
        &["remove", "a", "b"],
        &["list", "a"],
        &["reload", "--json"],
    ] {
        refused(line);
    }
}

#[test]
fn the_first_url_wins() {
    let (arguments, warnings) = bridge(&["--debug", URL, "http://other"]);
    assert_eq!(arguments.url, URL);
    assert_eq!(
        warnings,
        ["the server URL in position 3 is ignored: only the first counts"]
    );
}

#[test]
fn subcommands() {
    let status = |server: Option<&str>, json| {
        Invocation::Status(StatusArguments {
            server: server.map(str::to_owned),
            json,
            watch: false,
        })
    };
    assert_eq!(parsed(&["status"]).invocation, Ok(status(None, false)));
    assert_eq!(
        parsed(&["--json", "status", URL]).invocation,
        Ok(status(Some(URL), true))
    );
    assert_eq!(parsed(&["stop"]).invocation, Ok(Invocation::Stop));
    let everybody = Invocation::Logout {
        server: None,
        all: true,
    };
    assert_eq!(parsed(&["logout", "--all"]).invocation, Ok(everybody));
    let line = ["logout", URL, "--all"];
    assert!(matches!(
        parsed(&line).invocation,
        Ok(Invocation::Logout {
            server: Some(_),
            all: true
        })
    ));
    assert!(refused(&["logout"]).starts_with("the server's URL or name is missing"));
    assert!(refused(&["login"]).starts_with("the server's URL or name is missing"));
    assert!(refused(&["stop", "--all"]).starts_with("the flag --all means nothing"));
    assert_eq!(warnings(&[URL, "--all"]), ["unknown flag --all is ignored"]);
    let position = |position| format!("the argument in position {position} means nothing");
    assert!(refused(&["status", "a", "b"]).starts_with(&position(3)));
    assert!(refused(&["status", "--jsn"]).starts_with("the flag --jsn means nothing"));
    assert!(refused(&["stop", "now"]).starts_with(&position(2)));
    assert!(refused(&["stop", "--json"]).starts_with("the flag --json means nothing"));
}

#[test]
fn the_volume_is_known_even_if_the_rest_is_wrong() {
    let parsed = parsed(&["--silent", "--verbose"]);
    assert!(parsed.volume.silent && parsed.volume.debug);
    assert!(parsed.invocation.is_err());
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_text_is_said_by_its_position() {
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(b"h\xff".to_vec());
    let parsed = parse([broken].into_iter());
    let error = parsed.invocation.expect_err("a usage error");
    assert!(error.sentence.contains("in position 1 is not UTF-8"));
}
