//! `mcp-remote add NAME URL [flags]`: the flags of a bridge, kept as they are typed.
//!
//! Pure but for relative paths, which mean nothing elsewhere. What a bridge would
//! ignore with a warning is an error here: it would be lost.

use mcp_remote_proto::names;
use mcp_remote_proto::v1::Setting;

use super::{Word, is_switch, is_url, seconds, shown, starts_with_digits, takes_value, usage};
use crate::exit::ShimError;

/// Flags with a value that only the configuration knows.
const VALUED_HERE: &[&str] = &["--no-proxy", "--proxy", "--scope", "--session-idle"];

/// Switches that only the configuration knows.
const SWITCHES_HERE: &[&str] = &["--replace", "--warm"];

/// Switches of every command: they say nothing about the server.
const VOLUME: &[&str] = &["--debug", "--silent", "--verbose"];

/// Switches of a bridge that say nothing here.
const NOT_KEPT: &[&str] = &["--all", "--enable-proxy", "--json"];

/// Flags with a value that are about one use of the server.
const OF_A_USE: &[&str] = &["--drain-timeout", "--protocol"];

/// Flags whose value is a path, or may be one behind `@`.
const PATHS: &[&str] = &[
    "--bearer-token-file",
    "--ca-file",
    "--client-key",
    "--header-file",
    "--identity-provider-key",
    "--subject-token-file",
    "--workload-token-file",
];
const DOCUMENTS: &[&str] = &[
    "--identity-provider-client",
    "--static-oauth-client-info",
    "--static-oauth-client-metadata",
];

/// A server for the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddArguments {
    /// Its name.
    pub(crate) name: String,
    /// As typed.
    pub(crate) url: String,
    /// The flags, in their order.
    pub(crate) settings: Vec<Setting>,
    /// `--replace`.
    pub(crate) replace: bool,
}

/// Returns what follows `add`, if that is the command.
pub(super) fn find(words: &[Word]) -> Option<Vec<Word>> {
    let at = words
        .iter()
        .position(|(_, word)| !VOLUME.contains(&word.as_str()))?;
    let (_, command) = words.get(at)?;
    (command == "add").then(|| words[at + 1..].to_vec())
}

/// Says whether a flag means something here.
#[cfg(test)]
pub(super) fn knows(name: &str) -> bool {
    let own = [VALUED_HERE, SWITCHES_HERE].concat().contains(&name);
    (own || takes_value(name) || is_switch(name)) && !NOT_KEPT.contains(&name)
}

/// The flags that no bridge has.
#[cfg(test)]
pub(super) fn own() -> impl Iterator<Item = &'static str> {
    VALUED_HERE.iter().chain(SWITCHES_HERE).copied()
}

/// Understands what follows `add`.
pub(super) fn parse(words: Vec<Word>) -> Result<AddArguments, ShimError> {
    let mut positional = Vec::new();
    let mut settings = Vec::new();
    let mut replace = false;
    let mut words = words.into_iter();
    while let Some((position, word)) = words.next() {
        if !word.starts_with('-') {
            positional.push((position, word));
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let valued = takes_value(name) || VALUED_HERE.contains(&name);
        let switch = is_switch(name) || SWITCHES_HERE.contains(&name);
        if OF_A_USE.contains(&name) {
            return Err(usage(&format!(
                "{name} is about one use of a server and is not written down: give it where the server is used"
            )));
        }
        if valued {
            let value = inline.or_else(|| words.next().map(|(_, value)| value));
            let value = value.ok_or_else(|| usage(&format!("{name} needs a value")))?;
            settings.push(setting(name, value)?);
        } else if switch && !NOT_KEPT.contains(&name) {
            match name {
                _ if inline.is_some() => return Err(usage(&format!("{name} takes no value"))),
                "--replace" => replace = true,
                name if VOLUME.contains(&name) => {}
                "--device" => settings.push(setting("--device-code", String::new())?),
                name => settings.push(setting(name, String::new())?),
            }
        } else {
            let flag = shown(position, name);
            return Err(usage(&format!(
                "the flag {flag} means nothing to mcp-remote add"
            )));
        }
    }
    let (name, url) = server(positional, &mut settings)?;
    Ok(AddArguments {
        name,
        url,
        settings,
        replace,
    })
}

/// Takes name, URL and callback port.
fn server(
    positional: Vec<Word>,
    settings: &mut Vec<Setting>,
) -> Result<(String, String), ShimError> {
    let mut positional = positional.into_iter();
    let (Some((_, name)), Some((position, url))) = (positional.next(), positional.next()) else {
        return Err(usage("mcp-remote add needs the server's name and its URL"));
    };
    names::check(&name).map_err(|why| match why {
        names::BadName::Command => usage(&format!("{name} {why}")),
        // It may be anything.
        why => usage(&format!("the name {why}")),
    })?;
    if !is_url(&url) {
        return Err(usage(&format!(
            "the argument in position {position} is not a server URL"
        )));
    }
    for (position, word) in positional {
        if !starts_with_digits(&word) {
            return Err(super::unexpected("add", position));
        }
        settings.push(Setting {
            flag: "callback-port".to_owned(),
            value: word,
        });
    }
    Ok((name, url))
}

fn setting(flag: &str, value: String) -> Result<Setting, ShimError> {
    let value = match flag {
        flag if PATHS.contains(&flag) => absolute(&value, flag)?,
        flag if DOCUMENTS.contains(&flag) => match value.strip_prefix('@') {
            Some(path) => format!("@{}", absolute(path, flag)?),
            None => value,
        },
        "--auth-timeout" | "--body-timeout" | "--connect-timeout" | "--headers-timeout"
        | "--ping-interval" | "--request-timeout" | "--session-idle"
            if seconds(&value).is_none() =>
        {
            return Err(usage(&format!(
                "the value of {flag} is not a number of seconds"
            )));
        }
        _ => value,
    };
    Ok(Setting {
        flag: flag.trim_start_matches('-').to_owned(),
        value,
    })
}

/// The daemon stands in another folder than the user.
fn absolute(path: &str, flag: &str) -> Result<String, ShimError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| usage(&format!("the path of {flag} cannot be used: {error}")))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| usage(&format!("the path of {flag} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::super::{Invocation, parse as parse_line, table};
    use super::*;

    fn added(line: &[&str]) -> Result<AddArguments, String> {
        let parsed = parse_line(line.iter().map(std::ffi::OsString::from));
        match parsed.invocation {
            Ok(Invocation::Add(arguments)) => Ok(*arguments),
            Ok(other) => panic!("{line:?} gave {other:?}"),
            Err(error) => Err(error.sentence),
        }
    }

    #[test]
    fn flags_are_kept_as_they_are_typed_and_paths_are_absolute() {
        let arguments = added(&[
            "--debug",
            "add",
            "--warm",
            "github",
            "--header",
            "A: ${B}",
            "https://h/mcp",
            "9696",
            "--transport=sse-only",
            "--header-file",
            "/h",
            "--static-oauth-client-info",
            "@/c",
            "--static-oauth-client-metadata",
            "{}",
            "--replace",
        ])
        .expect("usable");
        assert_eq!(
            (&*arguments.name, &*arguments.url),
            ("github", "https://h/mcp")
        );
        assert!(arguments.replace);
        let settings: Vec<(&str, &str)> = arguments
            .settings
            .iter()
            .map(|setting| (&*setting.flag, &*setting.value))
            .collect();
        let expected = [
            ("warm", ""),
            ("header", "A: ${B}"),
            ("transport", "sse-only"),
            ("header-file", "/h"),
            ("static-oauth-client-info", "@/c"),
            ("static-oauth-client-metadata", "{}"),
            ("callback-port", "9696"),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_would_be_lost_is_refused_and_not_repeated() {
        for line in [
            &["add"][..],
            &["add", "github"],
            &["add", "https://u:s3cret@h/", "https://h/"],
            &["add", "status", "https://h/"],
            &["add", "github", "s3cret"],
            &["add", "github", "https://h/", "s3cret"],
            &["add", "github", "https://h/", "--nonsense", "s3cret"],
            &["add", "github", "https://h/", "--json"],
            &["add", "github", "https://h/", "--warm=s3cret"],
            &["add", "github", "https://h/", "--session-idle", "s3cret"],
            &["add", "github", "https://h/", "--header"],
        ] {
            let sentence = added(line).expect_err("it is refused");
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
    }

    #[test]
    fn help_wins_over_adding() {
        let parsed = parse_line(["add", "--help"].iter().map(std::ffi::OsString::from));
        let help = table::find("add").map(Invocation::HelpOn);
        assert_eq!(parsed.invocation.ok(), help);
    }
}
