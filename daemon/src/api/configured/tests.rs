//! What an entry of the configuration and flags make of each other.

use std::path::Path;

use super::*;
use crate::cli::Flags;
use crate::configuration::Source;
use crate::session::{Reuse, TransportChoice};

fn settings(folder: &Path, text: &str) -> Settings {
    let path = folder.join("config.toml");
    std::fs::write(&path, text).expect("it can be written");
    let config = Config::new(&Flags::default()).expect("there is a home");
    let source = Source {
        path,
        home: Some(folder.to_owned()),
        variable: |name| name.starts_with("MCP_REMOTE_").then(|| "value".to_owned()),
    };
    Settings::read(source, Box::new(move |entry| check(entry, &config)))
}

/// The commented example of the README.
fn example() -> &'static str {
    let readme = include_str!("../../../../README.md");
    let block = readme.split("\n```toml\n").nth(1).expect("there is one");
    block.split("\n```\n").next().expect("it ends")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("headers.txt", "X-File: f\n"), ("client.json", "{}")] {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    }
    let authority = folder.path().join("certificates/company.pem");
    std::fs::create_dir(authority.with_file_name("")).expect("it can be made");
    std::fs::write(authority, "").expect("it can be written");
    folder
}

#[test]
fn the_example_of_the_readme_can_be_used_and_has_every_key() {
    let folder = folder();
    let settings = settings(folder.path(), example());
    assert_eq!(settings.problem(), None);
    let entry = settings.server("example").expect("it is there");
    assert_eq!(entry.trouble, None);
    for table in ["daemon", "defaults", "servers.example"] {
        // The parser says which keys there are.
        let unknown = format!("[{table}]\nno_such_key = 1\n");
        let error = toml_edit::de::from_str::<document::Document>(&unknown);
        let error = error.err().expect("there is no such key").to_string();
        let keys = error.split('`').skip(3).step_by(2);
        let mut count = 0;
        for key in keys {
            count += 1;
            let written = example().contains(&format!("\n{key} = "));
            assert!(written, "{key} is not in the example");
        }
        assert!(count > 3, "{error}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn an_entry_acts_as_flags_would_and_flags_win() {
    let folder = folder();
    let settings = settings(folder.path(), example());
    let entry = settings.server("example").expect("it is there");
    let mut open = v1::Open::default();
    fill(&mut open, &entry);
    let config = Config::new(&Flags::default()).expect("there is a home");
    let opening = convert::opening(open, &config).expect("usable");
    assert_eq!(opening.spec.transport, TransportChoice::HttpFirst);
    assert_eq!(opening.reuse, Reuse::Sequential);
    assert_eq!(opening.spec.network.proxy, None);
    assert_eq!(opening.request_timeout, Some(Duration::from_secs(120)));
    assert_eq!(opening.ping_interval, Some(Duration::from_secs(60)));
    let timeouts = opening.spec.network.timeouts;
    assert_eq!(timeouts.connect, Some(Duration::from_secs(10)));
    assert_eq!((timeouts.headers, timeouts.body), (None, None));
    assert_eq!(opening.identity.callback.port, Some(5598));
    assert!(opening.identity.scope.is_some());
    let raw = [
        "X-Key: ${MCP_REMOTE_EXAMPLE_KEY}",
        "X-Team: blue",
        "X-File: f",
    ];
    assert_eq!(opening.identity.raw_headers, raw);
    let mut open = v1::Open {
        headers: vec![v1::Header {
            name: "x-key".into(),
            value: "mine".into(),
        }],
        auth: Some(v1::AuthOptions {
            raw_headers: vec!["x-key: mine".into()],
            client_metadata_url: "https://example.com/mine.json".into(),
            disable_resource: true,
            authorize_params: vec![v1::AuthorizeParam {
                name: "audience".into(),
                value: "mine".into(),
            }],
            callback_port: 1,
            timeout_s: 2,
            ..v1::AuthOptions::default()
        }),
        options: Some(v1::Options {
            no_request_timeout: true,
            transport: v1::Transport::SseOnly.into(),
            ..v1::Options::default()
        }),
        ..v1::Open::default()
    };
    fill(&mut open, &entry);
    let options = open.options.clone().expect("it is there");
    assert_eq!(options.request_timeout_ms, 0);
    assert_eq!(options.transport(), v1::Transport::SseOnly);
    let auth = open.auth.clone().expect("it is there");
    assert_eq!(auth.static_client_info, "");
    assert_eq!((auth.resource.as_str(), auth.disable_resource), ("", true));
    assert_eq!(auth.authorize_params.len(), 1);
    assert_eq!((auth.callback_port, auth.timeout_s), (1, 2));
    let sent: Vec<&str> = open.headers.iter().map(|one| one.value.as_str()).collect();
    assert_eq!(sent, ["blue", "f", "mine"]);
    assert_eq!(
        auth.raw_headers,
        ["x-key: mine", "X-Team: blue", "X-File: f"]
    );
}
#[test]
fn what_a_command_line_wants_to_last_for_ever_does() {
    let folder = folder();
    let text = "[defaults]\nping_interval = 5\n[servers.a]\nurl = \"https://a/\"\nheaders_timeout = 1\nbody_timeout = 2\n[servers.b]\nurl = \"https://b/\"\nkeep_alive = false\n";
    let settings = settings(folder.path(), text);
    let filled = |name: &str, options: v1::Options| {
        let mut open = v1::Open {
            options: Some(options),
            ..v1::Open::default()
        };
        fill(&mut open, &settings.server(name).expect("it is there"));
        open.options.expect("it is there")
    };
    let times = |options: &v1::Options| (options.headers_timeout_ms, options.body_timeout_ms);
    let usual = filled("a", v1::Options::default());
    assert_eq!(
        (times(&usual), usual.ping_interval_ms),
        ((1000, 2000), 5000)
    );
    let no_headers = v1::Options {
        no_headers_timeout: true,
        ..v1::Options::default()
    };
    assert_eq!(times(&filled("a", no_headers)), (0, 2000));
    let no_body = v1::Options {
        no_body_timeout: true,
        ..v1::Options::default()
    };
    assert_eq!(times(&filled("a", no_body)), (1000, 0));
    // What a server says of itself wins over what counts for all.
    assert_eq!(filled("b", v1::Options::default()).ping_interval_ms, 0);
}
