//! A server of the configuration as it counts: what its table and `[defaults]` say,
//! with the files that they name read and `${VAR}` taken from the environment.
//!
//! Two entries are equal if nothing that a server or a shim could notice differs.
//! What makes one unusable is kept in it, and said to whoever wants it.

use std::path::Path;

use serde_json::{Map, Value};

use super::document::{Json, ServerTable, Texts};
use super::file;
use crate::secret::Secret;

/// Where files and variables are looked for.
pub(super) struct Surroundings<'a> {
    /// The home folder.
    pub(super) home: Option<&'a Path>,
    /// The folder of the configuration file.
    pub(super) folder: &'a Path,
    /// The daemon's environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A header of every request to the server.
#[derive(Clone, PartialEq)]
pub(crate) struct EntryHeader {
    /// As written.
    pub(crate) name: String,
    /// `Name: value` before variables were expanded.
    pub(crate) raw: Secret<String>,
    /// After.
    pub(crate) value: Secret<String>,
}

/// A server, or what counts for those without a name.
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    /// What is written, defaults included; paths are absolute.
    pub(crate) table: ServerTable,
    /// Its headers.
    pub(crate) headers: Vec<EntryHeader>,
    /// The client registered by hand, as JSON; empty: none.
    pub(crate) client_info: Secret<String>,
    /// What to say when registering, as JSON; empty: nothing.
    pub(crate) client_metadata: Secret<String>,
    /// The client registered at the identity provider, as JSON; empty: none.
    pub(crate) identity_provider_client: Secret<String>,
    /// Why it cannot be used as things are, one sentence.
    pub(crate) trouble: Option<String>,
}

/// Values may be secret.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

impl Entry {
    /// Reads what a table names.
    pub(super) fn new(mut table: ServerTable, around: &Surroundings<'_>) -> Self {
        let absolute = |text: &String| file::path(text, around.home, around.folder);
        for path in [
            &mut table.ca_file,
            &mut table.client_key,
            &mut table.bearer_token_file,
            &mut table.workload_token_file,
            &mut table.identity_provider_key,
            &mut table.subject_token_file,
        ] {
            *path = path
                .as_ref()
                .map(|path| absolute(path).display().to_string());
        }
        let program = table.bearer_token_command.as_mut();
        // One without a folder is looked for as a shell does.
        if let Some(program) = program.and_then(|words| words.first_mut())
            && program.contains('/')
        {
            *program = absolute(program).display().to_string();
        }
        let mut entry = Self {
            headers: Vec::new(),
            client_info: Secret::new(String::new()),
            client_metadata: Secret::new(String::new()),
            identity_provider_client: Secret::new(String::new()),
            trouble: None,
            table,
        };
        entry.trouble = entry.read(around).err();
        entry
    }

    fn read(&mut self, around: &Surroundings<'_>) -> Result<(), String> {
        for (name, Texts(values)) in self.table.headers.iter().flatten() {
            for value in values {
                self.headers.push(header(name, value, around)?);
            }
        }
        for named in self.table.header_file.iter().flat_map(|files| &files.0) {
            let path = file::path(named, around.home, around.folder);
            let text = file::read_named(&path, "the header file")?;
            for (number, line) in (1..).zip(text.lines()) {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (name, value) = line.split_once(':').ok_or_else(|| {
                    format!("{}:{number}: the line is not 'Name: value'", path.display())
                })?;
                self.headers.push(header(name, value, around)?);
            }
        }
        let (info, metadata) = (
            &self.table.static_oauth_client_info,
            &self.table.static_oauth_client_metadata,
        );
        let info = json("static_oauth_client_info", info.as_ref(), around)?;
        let metadata = json("static_oauth_client_metadata", metadata.as_ref(), around)?;
        self.client_info = Secret::new(info);
        let provider = self.table.identity_provider_client.as_ref();
        let provider = json("identity_provider_client", provider, around)?;
        self.identity_provider_client = Secret::new(provider);
        self.client_metadata = Secret::new(with_scope(metadata, self.table.scope.as_deref()));
        // It is read when a connection is made.
        match &self.table.ca_file {
            Some(path) => file::check(Path::new(path), "the file of ca_file"),
            None => Ok(()),
        }
    }
}

fn header(name: &str, value: &str, around: &Surroundings<'_>) -> Result<EntryHeader, String> {
    let blank = [' ', '\t'];
    let place = || format!("the header {name}");
    let expanded = expand(value, around.variable, str::to_owned, place)?;
    Ok(EntryHeader {
        name: name.to_owned(),
        raw: Secret::new(format!("{name}: {}", value.trim_matches(blank))),
        value: Secret::new(expanded.trim_matches(blank).to_owned()),
    })
}

/// Returns the text of a JSON object; `@` names the file that holds it.
fn json(key: &str, written: Option<&Json>, around: &Surroundings<'_>) -> Result<String, String> {
    let Some(Json(text)) = written else {
        return Ok(String::new());
    };
    let text = match text.strip_prefix('@') {
        Some(named) => {
            let path = file::path(named, around.home, around.folder);
            file::read_named(&path, &format!("the file of {key}"))?
        }
        None => text.clone(),
    };
    expand(&text, around.variable, inside_string, || key.to_owned())
}

/// Writes a text as it stands inside a JSON string.
fn inside_string(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Pins the scopes in what a registration says, which is where they are looked for.
fn with_scope(metadata: String, scope: Option<&str>) -> String {
    let Some(scope) = scope else {
        return metadata;
    };
    let object: Result<Map<String, Value>, _> = match metadata.is_empty() {
        true => Ok(Map::new()),
        false => serde_json::from_str(&metadata),
    };
    match object {
        Ok(mut object) => {
            object.insert("scope".into(), scope.into());
            Value::from(object).to_string()
        }
        // Whoever reads it says what is wrong with it.
        Err(_) => metadata,
    }
}

/// Replaces each `${NAME}` by that variable, written as `quote` does.
fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    quote: impl Fn(&str) -> String,
    place: impl FnOnce() -> String,
) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        rest = after;
        match after.split_once('}') {
            Some((name, after)) if !name.is_empty() => {
                let Some(value) = variable(name) else {
                    return Err(format!(
                        "{} needs the environment variable {name}, which the daemon does not have: put the value into a file (header_file, @FILE), or start the daemon with it",
                        place()
                    ));
                };
                expanded.push_str(&quote(&value));
                rest = after;
            }
            _ => expanded.push_str("${"),
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Returns the names of the variables that a text asks for.
pub(super) fn variables(text: &str) -> Vec<&str> {
    let pieces = text.split("${").skip(1);
    let names = pieces.filter_map(|piece| piece.split_once('}').map(|(name, _)| name));
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn entry(folder: &Path, text: &str) -> Entry {
        let parsed = parse(&format!("[servers.a]\n{text}"));
        let mut parsed = parsed.unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let table = parsed.document.servers.remove("a").expect("it is there");
        let variable = |name: &str| match name {
            "TOKEN" => Some("s3cret\"".to_owned()),
            _ => None,
        };
        let around = Surroundings {
            home: Some(folder),
            folder,
            variable: &variable,
        };
        Entry::new(table, &around)
    }

    #[test]
    fn headers_come_from_the_table_and_from_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("h");
        std::fs::write(&file, "# one\n\nX-Three:  3 ${TOKEN} \n").expect("it can be written");
        let entry = entry(
            folder.path(),
            "headers = { X-One = \"1\", X-Two = [\"a\", \"b ${TOKEN}\"] }\nheader_file = \"~/h\"\n",
        );
        assert_eq!(entry.trouble, None);
        let headers: Vec<(&str, &str, &str)> = entry
            .headers
            .iter()
            .map(|one| {
                let (raw, value) = (one.raw.reveal(), one.value.reveal());
                (one.name.as_str(), raw.as_str(), value.as_str())
            })
            .collect();
        let expected = [
            ("X-One", "X-One: 1", "1"),
            ("X-Two", "X-Two: a", "a"),
            ("X-Two", "X-Two: b ${TOKEN}", "b s3cret\""),
            ("X-Three", "X-Three: 3 ${TOKEN}", "3 s3cret\""),
        ];
        assert_eq!(headers, expected);
        assert!(!format!("{entry:?}").contains("s3cret"));
    }

    #[test]
    fn clients_are_tables_texts_or_files() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("c.json"), "{\"client_id\":\"f\"}").expect("written");
        for (written, expected) in [
            (
                "{ client_id = \"i\", client_secret = \"${TOKEN}\", n = 1 }",
                r#"{"client_id":"i","client_secret":"s3cret\"","n":1}"#,
            ),
            (r#"'{"client_id":"i"}'"#, r#"{"client_id":"i"}"#),
            ("\"@c.json\"", r#"{"client_id":"f"}"#),
        ] {
            let entry = entry(
                folder.path(),
                &format!("static_oauth_client_info = {written}\n"),
            );
            assert_eq!(entry.trouble, None, "{written}");
            assert_eq!(entry.client_info.reveal(), expected);
        }
        let entry = entry(
            folder.path(),
            "static_oauth_client_metadata = { client_name = \"n\" }\nscope = \"a b\"\n",
        );
        assert_eq!(
            entry.client_metadata.reveal(),
            r#"{"client_name":"n","scope":"a b"}"#
        );
    }

    #[test]
    fn what_is_missing_is_the_entrys_own_trouble() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, named) in [
            ("headers = { X = \"${NONE}\" }\n", "NONE"),
            ("header_file = \"none.txt\"\n", "none.txt"),
            ("static_oauth_client_info = \"@none.json\"\n", "none.json"),
        ] {
            let trouble = entry(folder.path(), text).trouble.expect(text);
            assert!(trouble.contains(named), "{trouble}");
        }
    }
}
