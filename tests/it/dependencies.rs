//! The shim stays small because of what it does not depend on.

#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::process::Command;

/// What the shim may be made of on Linux. A name is added on purpose or not at
/// all: each costs size and start-up time in every command.
#[rustfmt::skip]
#[cfg(target_os = "linux")]
const ALLOWED: &[&str] = &[
    "anyhow", "async-trait", "atomic-waker", "base64", "bitflags", "bytes", "doctest-file",
    "either", "equivalent", "errno", "fnv", "futures-channel", "futures-core", "futures-sink", "h2",
    "hashbrown", "http", "http-body", "http-body-util", "hyper", "hyper-util", "indexmap",
    "interprocess", "itertools", "itoa", "libc", "linux-raw-sys", "mcp-remote", "mcp-remote-proto",
    "mio", "once_cell", "percent-encoding", "pin-project", "pin-project-internal",
    "pin-project-lite", "proc-macro2", "prost", "prost-derive", "quote", "rustix",
    "signal-hook-registry", "slab", "smallvec", "socket2", "syn", "sync_wrapper", "tokio",
    "tokio-macros", "tokio-stream", "tokio-util", "tonic", "tonic-prost", "tower-layer",
    "tower-service", "tracing", "tracing-attributes", "tracing-core", "try-lock", "unicode-ident",
    "want",
];

#[test]
#[cfg(target_os = "linux")]
fn the_shim_is_made_of_these_crates_and_no_others() {
    let text = tree("{p}");
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let used: BTreeSet<&str> = words.collect();
    let allowed: BTreeSet<&str> = ALLOWED.iter().copied().collect();
    let new: Vec<_> = used.difference(&allowed).collect();
    let gone: Vec<_> = allowed.difference(&used).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "new: {new:?}; gone: {gone:?}"
    );
    for banned in [
        "reqwest",
        "sled",
        "rustls",
        "serde_json",
        "tracing-subscriber",
        "regex",
        "url",
    ] {
        assert!(!used.contains(banned), "{banned}");
    }
}

#[test]
fn the_shim_serves_no_http() {
    let text = tree("{p} {f}");
    let hyper: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("hyper v"))
        .collect();
    assert!(!hyper.is_empty());
    assert!(
        !hyper.iter().any(|line| line.contains("server")),
        "{hyper:?}"
    );
}

/// Lists what the shim is made of, one crate a line.
fn tree(format: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "mcp-remote", "--edges", "normal"])
        .args(["--prefix", "none", "--format", format, "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
