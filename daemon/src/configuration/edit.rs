//! Changes to the text of a configuration file: comments and whatever else stands in
//! it stay as they are. Pure.

use std::str::FromStr as _;

use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, Table, Value, value};

/// How the value of a flag is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// A number, or a word.
    NumberOrWord,
    /// Present or not.
    Switch,
    /// One of several texts.
    List,
    /// `Name: value`, into a table.
    Header,
    /// `NAME=VALUE`, into a table.
    Parameter,
}

/// Every flag that can be kept, its key, and what is written there.
const FLAGS: &[(&str, &str, Kind)] = &[
    ("allow-http", "allow_http", Kind::Switch),
    ("allow-missing-pkce", "allow_missing_pkce", Kind::Switch),
    ("auth-success-url", "auth_success_url", Kind::Text),
    ("auth-timeout", "auth_timeout", Kind::Number),
    ("authorize-param", "authorize_params", Kind::Parameter),
    ("bearer-token-file", "bearer_token_file", Kind::Text),
    ("body-timeout", "body_timeout", Kind::Number),
    ("ca-file", "ca_file", Kind::Text),
    ("cache-lists", "cache_lists", Kind::NumberOrWord),
    ("callback-path", "callback_path", Kind::Text),
    ("callback-port", "callback_port", Kind::Number),
    (
        "client-assertion-audience",
        "client_assertion_audience",
        Kind::Text,
    ),
    ("client-credentials", "client_credentials", Kind::Switch),
    ("client-key", "client_key", Kind::Text),
    ("client-key-id", "client_key_id", Kind::Text),
    ("client-metadata-url", "client_metadata_url", Kind::Text),
    ("connect-timeout", "connect_timeout", Kind::Number),
    ("device-code", "device_code", Kind::Switch),
    (
        "disable-resource-parameter",
        "disable_resource_parameter",
        Kind::Switch,
    ),
    ("disable-cookies", "disable_cookies", Kind::Switch),
    ("dpop", "dpop", Kind::Text),
    ("header", "headers", Kind::Header),
    ("header-file", "header_file", Kind::List),
    ("headers-timeout", "headers_timeout", Kind::Number),
    ("host", "callback_host", Kind::Text),
    ("identity-provider", "identity_provider", Kind::Text),
    (
        "identity-provider-client",
        "identity_provider_client",
        Kind::Text,
    ),
    ("identity-provider-key", "identity_provider_key", Kind::Text),
    ("ignore-tool", "ignore_tools", Kind::List),
    ("ipv4", "ipv4", Kind::Switch),
    ("keep-alive", "keep_alive", Kind::Switch),
    ("no-browser", "no_browser", Kind::Switch),
    ("no-proxy", "no_proxy", Kind::Text),
    ("non-interactive", "non_interactive", Kind::Switch),
    ("ping-interval", "ping_interval", Kind::Number),
    ("proxy", "proxy", Kind::Text),
    ("request-timeout", "request_timeout", Kind::Number),
    ("resource", "resource", Kind::Text),
    ("reuse", "reuse", Kind::Text),
    ("scope", "scope", Kind::Text),
    ("session-idle", "session_idle", Kind::Number),
    (
        "static-oauth-client-info",
        "static_oauth_client_info",
        Kind::Text,
    ),
    (
        "static-oauth-client-metadata",
        "static_oauth_client_metadata",
        Kind::Text,
    ),
    ("subject-token-file", "subject_token_file", Kind::Text),
    ("subject-token-type", "subject_token_type", Kind::Text),
    ("token-endpoint", "token_endpoint", Kind::Text),
    ("transport", "transport", Kind::Text),
    ("use-id-token", "use_id_token", Kind::Switch),
    ("warm", "warm", Kind::Switch),
    ("workload-token-file", "workload_token_file", Kind::Text),
];

/// Flags that say how one command behaves, whatever the server: not kept.
const OF_A_COMMAND: &[&str] = &["debug", "drain-timeout", "protocol", "silent", "verbose"];

/// A flag of the command line, without its dashes.
pub(crate) struct Setting {
    /// Its name.
    pub(crate) flag: String,
    /// Its value; empty for a switch.
    pub(crate) value: String,
}

/// Names keys where a sentence names flags, and returns the first of them.
pub(super) fn in_keys(sentence: &str) -> (String, Option<&'static str>) {
    let mut text = sentence.to_owned();
    let mut first = None;
    // Of two flags that begin alike the longer one is meant.
    let mut flags: Vec<_> = FLAGS.iter().collect();
    flags.sort_by_key(|(flag, _, _)| std::cmp::Reverse(flag.len()));
    for (flag, key, _) in flags {
        let flag = format!("--{flag}");
        if let Some(at) = text.find(&flag) {
            if first.is_none_or(|(earlier, _)| at < earlier) {
                first = Some((at, *key));
            }
            text = text.replace(&flag, key);
        }
    }
    (text, first.map(|(_, key)| key))
}

/// Returns the text with a server more; `replace`: in place of one of this name.
///
/// # Errors
/// One sentence that says why not, and repeats no value.
pub(super) fn add(
    text: &str,
    name: &str,
    url: &str,
    settings: &[Setting],
    replace: bool,
) -> Result<String, String> {
    with_line_ends(text, &|text| added(text, name, url, settings, replace))
}

/// Says whether there is a server of this name.
pub(super) fn has(text: &str, name: &str) -> bool {
    let tree = tree(text).ok();
    let servers = tree.as_ref().and_then(|tree| tree.get("servers"));
    servers.is_some_and(|servers| servers.get(name).is_some())
}

/// Makes a change to a text with simple line ends, and leaves those that it has: both
/// kinds in one file become those of its first line.
fn with_line_ends(
    text: &str,
    change: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let first = text.split_inclusive('\n').next().unwrap_or_default();
    let changed = change(&text.replace("\r\n", "\n"))?;
    Ok(match first.ends_with("\r\n") {
        true => changed.replace('\n', "\r\n"),
        false => changed,
    })
}

fn added(
    text: &str,
    name: &str,
    url: &str,
    settings: &[Setting],
    replace: bool,
) -> Result<String, String> {
    let mut tree = tree(text)?;
    let mut table = Table::new();
    table.insert("url", value(url));
    for setting in settings {
        set(&mut table, setting)?;
    }
    let servers = tree.entry("servers").or_insert_with(|| {
        let mut servers = Table::new();
        servers.set_implicit(true);
        Item::Table(servers)
    });
    let there = servers.get(name).is_some();
    if there && !replace {
        return Err(format!(
            "there is a server {name} already: run mcp-remote remove {name} first, or add --replace"
        ));
    }
    match servers {
        // Each stays where it is, with the comments around it.
        Item::Table(servers) => match servers.get_mut(name) {
            Some(Item::Table(old)) => {
                *table.decor_mut() = old.decor().clone();
                table.set_position(old.position());
                table.set_dotted(old.is_dotted());
                if let (Some(from), Some(mut to)) = (old.key("url"), table.key_mut("url")) {
                    *to.leaf_decor_mut() = from.leaf_decor().clone();
                }
                *old = table;
            }
            Some(Item::Value(old)) => {
                let mut new = Value::InlineTable(table.into_inline_table());
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            _ => return Ok(appended(text, name, table)),
        },
        Item::Value(Value::InlineTable(servers)) => {
            servers.insert(name, Value::InlineTable(table.into_inline_table()));
        }
        _ => return Err("its servers are not a table: write [servers.NAME]".into()),
    }
    Ok(tree.to_string())
}

/// Returns the text without a server.
///
/// # Errors
/// There is none of this name.
pub(super) fn remove(text: &str, name: &str) -> Result<String, String> {
    with_line_ends(text, &|text| removed(text, name))
}

fn removed(text: &str, name: &str) -> Result<String, String> {
    let mut tree = tree(text)?;
    let servers = tree.get_mut("servers").and_then(Item::as_table_like_mut);
    let removed = servers.and_then(|servers| servers.remove(name));
    let removed = removed.ok_or_else(|| format!("there is no server {name}"))?;
    if let Item::Table(table) = removed {
        let above = table.decor().prefix().and_then(RawString::as_str);
        // What a blank line sets apart is not about this server.
        if let Some((kept, _)) = above.and_then(|above| above.rsplit_once("\n\n"))
            && !kept.trim().is_empty()
        {
            keep_above_next(&mut tree, &table, &format!("{kept}\n"));
        }
    }
    Ok(tree.to_string())
}

/// Puts a new server at the end of the file, behind comments too.
fn appended(text: &str, name: &str, table: Table) -> String {
    let mut servers = Table::new();
    servers.set_implicit(true);
    servers.insert(name, Item::Table(table));
    let mut tree = DocumentMut::new();
    tree.insert("servers", Item::Table(servers));
    match text.trim_end() {
        "" => tree.to_string(),
        before => format!("{before}\n\n{tree}"),
    }
}

/// Puts a comment above the table that followed a removed one, or at the end.
fn keep_above_next(tree: &mut DocumentMut, removed: &Table, comment: &str) {
    fn find<'a>(table: &'a mut Table, after: isize, best: &mut Option<&'a mut Table>) {
        for (_, item) in table.iter_mut() {
            let Item::Table(inner) = item else { continue };
            let at = inner.position().filter(|at| *at > after);
            let nearest = best.as_ref().and_then(|best| best.position());
            if at.is_some_and(|at| nearest.is_none_or(|nearest| at < nearest))
                && !inner.is_implicit()
            {
                *best = Some(inner);
            } else {
                find(inner, after, best);
            }
        }
    }
    let mut next = None;
    find(
        tree.as_table_mut(),
        removed.position().unwrap_or_default(),
        &mut next,
    );
    let joined = |old: Option<&RawString>| {
        let old = old.and_then(RawString::as_str).unwrap_or_default();
        format!("{comment}{old}")
    };
    match next {
        Some(next) => {
            let prefix = joined(next.decor().prefix());
            next.decor_mut().set_prefix(prefix);
        }
        None => {
            let trailing = joined(Some(tree.trailing()));
            tree.set_trailing(trailing);
        }
    }
}

fn tree(text: &str) -> Result<DocumentMut, String> {
    // It has been parsed before.
    DocumentMut::from_str(text).map_err(|_| "it is not TOML".into())
}

fn set(table: &mut Table, Setting { flag, value }: &Setting) -> Result<(), String> {
    let known = FLAGS.iter().find(|(known, _, _)| known == flag);
    let Some((_, key, kind)) = known else {
        return Err(match OF_A_COMMAND.contains(&flag.as_str()) {
            true => format!("--{flag} belongs to a command, not to a server: give it there"),
            false => format!("--{flag} is not known to this release of mcp-remoted"),
        });
    };
    let written = table.get(key).is_some();
    match kind {
        Kind::List => list(table, key).push(value.as_str()),
        Kind::Header => {
            let (name, value) = value
                .split_once(':')
                .ok_or("the value of --header is not 'Name: value'")?;
            one_more(inline(table, key), name, value.trim_matches([' ', '\t']));
        }
        Kind::Parameter => {
            let (name, value) = value
                .split_once('=')
                .ok_or("the value of --authorize-param is not NAME=VALUE")?;
            inline(table, key).insert(name, value.into());
        }
        // Of all others the first one wins, as on a command line.
        _ if written => {}
        // `--resource ''` switches it off, as with the npm package.
        Kind::Text if *key == "resource" && value.is_empty() => {
            table.insert("disable_resource_parameter", toml_edit::value(true));
        }
        Kind::Text => drop(table.insert(key, toml_edit::value(value))),
        Kind::Switch => drop(table.insert(key, toml_edit::value(true))),
        Kind::Number => drop(table.insert(key, number(flag, value)?)),
        Kind::NumberOrWord => {
            let item = number(flag, value).unwrap_or_else(|_| toml_edit::value(value));
            table.insert(key, item);
        }
    }
    Ok(())
}

fn number(flag: &str, text: &str) -> Result<Item, String> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<u32>() {
        return Ok(value(i64::from(whole)));
    }
    let number = text.parse::<f64>().ok().filter(|number| {
        // The rest is no time either.
        number.is_finite() && *number >= 0.0
    });
    number
        .map(value)
        .ok_or_else(|| format!("the value of --{flag} is not a number"))
}

fn list<'a>(table: &'a mut Table, key: &str) -> &'a mut Array {
    let item = table.entry(key).or_insert_with(|| value(Array::new()));
    item.as_array_mut().expect("it is made above")
}

fn inline<'a>(table: &'a mut Table, key: &str) -> &'a mut InlineTable {
    let item = table
        .entry(key)
        .or_insert_with(|| value(InlineTable::new()));
    item.as_inline_table_mut().expect("it is made above")
}

/// A header may be given more than once.
fn one_more(table: &mut InlineTable, name: &str, text: &str) {
    match table.get_mut(name) {
        None => drop(table.insert(name, text.into())),
        Some(Value::Array(texts)) => texts.push(text),
        Some(first) => {
            let texts = Array::from_iter([std::mem::replace(first, 0.into()), text.into()]);
            *first = Value::Array(texts);
        }
    }
}

#[cfg(test)]
mod tests;
