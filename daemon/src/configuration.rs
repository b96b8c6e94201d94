//! The user's configuration file: named servers, what counts for all, and what the
//! daemon runs with. Read at the start, when told to, and when a server is added.
//!
//! What is in force was whole and free of errors when it was read; a file that is
//! not leaves it as it was. Knows nothing of sessions, nor of how a key acts.

pub(crate) mod document;
mod edit;
mod entry;
mod file;
mod parse;
mod write;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use mcp_remote_proto::names;
use tokio::sync::watch;

use document::{DaemonTable, ServerTable};
pub(crate) use edit::Setting;
use entry::Surroundings;
pub(crate) use entry::{Entry, EntryHeader};
use parse::{Parsed, Wrong, parse};

/// What is in force.
#[derive(Debug, PartialEq)]
pub(crate) struct Configuration {
    /// `[daemon]`.
    pub(crate) daemon: DaemonTable,
    /// What counts for servers without a name.
    pub(crate) defaults: Entry,
    /// The servers by name.
    pub(crate) servers: BTreeMap<String, Entry>,
}

/// What another configuration changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Servers that are new, different or gone.
    pub(crate) names: BTreeSet<String>,
    /// Whether `[defaults]` count differently, for servers without a name.
    pub(crate) defaults: bool,
    /// What the user should know, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// Where the configuration comes from.
pub(crate) struct Source {
    /// The file.
    pub(crate) path: PathBuf,
    /// The home folder.
    pub(crate) home: Option<PathBuf>,
    /// The daemon's environment.
    pub(crate) variable: fn(&str) -> Option<String>,
}

/// Says whether an entry makes sense; the error names flags of the command line.
pub(crate) type Check = Box<dyn Fn(&Entry) -> Result<(), String> + Send + Sync>;

/// The configuration, for everybody. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settings(Arc<Inner>);

struct Inner {
    source: Source,
    check: Check,
    current: watch::Sender<Arc<Configuration>>,
    /// Why the file as it was last cannot be used.
    problem: Mutex<Option<String>>,
    /// Held while the file is read, changed and applied: by threads that may block.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("path", &self.0.source.path)
            .finish_non_exhaustive()
    }
}

/// What `[daemon]` says, before anything else can be; nothing if the file cannot be
/// used, which [`Settings::read`] says. Blocks.
pub(crate) fn of_daemon(source: &Source) -> DaemonTable {
    let text = file::read(&source.path).ok().flatten().unwrap_or_default();
    parse(&text).map_or_else(|_| DaemonTable::default(), |parsed| parsed.document.daemon)
}

impl Settings {
    /// Reads the file. One that cannot be used counts as empty, and is complained
    /// about whenever somebody asks for a name. Blocks.
    pub(crate) fn read(source: Source, check: Check) -> Self {
        let read = source
            .text()
            .and_then(|text| source.understand(&text, &check));
        let (configuration, problem) = match read {
            Ok(configuration) => (configuration, None),
            Err(sentence) => {
                tracing::error!("{sentence}");
                (source.empty(), Some(sentence))
            }
        };
        Self(Arc::new(Inner {
            source,
            check,
            current: watch::Sender::new(Arc::new(configuration)),
            problem: Mutex::new(problem),
            turn: Mutex::default(),
        }))
    }

    /// Returns the file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.0.source.path
    }

    /// Returns what is in force.
    pub(crate) fn now(&self) -> Arc<Configuration> {
        self.0.current.borrow().clone()
    }

    /// Returns what is in force, to follow it.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Configuration>> {
        self.0.current.subscribe()
    }

    /// Says why the file as it was read last cannot be used.
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Says what is unwise about the file, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let path = &self.0.source.path;
        let now = self.now();
        let secrets = holds_secrets(&now.defaults) || now.servers.values().any(holds_secrets);
        let advice = file::closed_to_readers_by(path).filter(|_| secrets);
        let warning = |advice| {
            let path = path.display();
            format!("{path} holds headers or secrets and can be read by others: {advice}")
        };
        advice.map(warning).into_iter().collect()
    }

    /// Returns the entry of a name.
    ///
    /// # Errors
    /// Why there is none, in one sentence.
    pub(crate) fn server(&self, name: &str) -> Result<Entry, String> {
        if let Some(entry) = self.now().servers.get(name) {
            return Ok(entry.clone());
        }
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        // What is no name may be anything, a secret too: it is not repeated.
        Err(format!(
            "there is no command and no server of this name in {}: mcp-remote list shows the servers, mcp-remote reload reads the file again, or give a URL",
            self.path().display()
        ))
    }

    /// Reads the file again and applies it. Blocks.
    ///
    /// # Errors
    /// Why the file cannot be used, in one sentence; what was in force stays so.
    pub(crate) fn reload(&self) -> Result<Change, String> {
        let _turn = self.turn();
        let read = self.0.source.text();
        let read = read.and_then(|text| self.0.source.understand(&text, &self.0.check));
        match read {
            Ok(configuration) => {
                *self.lock() = None;
                let mut change = self.apply(configuration);
                change.notes.extend(self.now().troubles());
                Ok(change)
            }
            Err(sentence) => {
                tracing::error!("{sentence}");
                *self.lock() = Some(sentence.clone());
                Err(sentence)
            }
        }
    }

    /// Writes a server into the file and applies it; says whether it replaces one.
    /// Blocks.
    ///
    /// # Errors
    /// Why not, in one sentence; the file is as it was then.
    pub(crate) fn add(
        &self,
        name: &str,
        url: &str,
        settings: &[Setting],
        replace: bool,
    ) -> Result<(Change, bool), String> {
        names::check(name).map_err(|why| match why {
            names::BadName::Command => format!("{name} {why}"),
            // It may be anything.
            _ => format!("the name {why}"),
        })?;
        // What counts is the file, which may have been changed since it was read.
        let replaces = Cell::new(false);
        let mut change = self.change(&|text| {
            replaces.set(edit::has(text, name));
            edit::add(text, name, url, settings, replace)
        })?;
        if let Some(entry) = self.now().servers.get(name) {
            change.notes.extend(self.notes(name, entry));
        }
        Ok((change, replaces.get()))
    }

    /// Takes a server out of the file and applies it. Blocks.
    ///
    /// # Errors
    /// Why not, in one sentence; the file is as it was then.
    pub(crate) fn remove(&self, name: &str) -> Result<Change, String> {
        self.change(&|text| edit::remove(text, name))
    }

    fn change(&self, edit: &dyn Fn(&str) -> Result<String, String>) -> Result<Change, String> {
        let _turn = self.turn();
        let source = &self.0.source;
        let path = source.path.display();
        let before = write::read(&source.path)?;
        // A file that is broken is not made worse.
        source.understand(&before, &self.0.check)?;
        let after = edit(&before).map_err(|why| format!("{path}: {why}"))?;
        let configuration = source
            .check(&after, &self.0.check)
            .map_err(|wrong| format!("nothing was written: {}", wrong.what))?;
        write::replace(&source.path, &after)?;
        *self.lock() = None;
        Ok(self.apply(configuration))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0
            .turn
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Says what somebody who adds an entry should know.
    fn notes(&self, name: &str, entry: &Entry) -> Vec<String> {
        let mut notes = Vec::new();
        if holds_secrets(entry) {
            notes.push(format!(
                "{} holds the values of headers, credentials or a client's secret now; it is readable by you alone",
                self.path().display()
            ));
        }
        let trouble = entry.trouble.as_ref();
        notes.extend(trouble.map(|trouble| cannot_be_used(name, trouble)));
        notes
    }

    fn apply(&self, configuration: Configuration) -> Change {
        let before = self.now();
        let change = before.changed_by(&configuration);
        tracing::info!(changed = ?change.names, defaults = change.defaults, "configuration read");
        self.0.current.send_replace(Arc::new(configuration));
        change
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0
            .problem
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Configuration {
    /// Says whether a server is to be kept connected.
    pub(crate) fn keeps_warm(&self) -> bool {
        self.servers.values().any(Entry::is_kept_warm)
    }

    /// Says which servers that are to be used cannot be, one sentence each.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let enabled = self.servers.iter().filter(|(_, entry)| entry.is_enabled());
        let in_trouble = |(name, entry): (&String, &Entry)| {
            let trouble = entry.trouble.as_ref()?;
            Some(cannot_be_used(name, trouble))
        };
        enabled.filter_map(in_trouble).collect()
    }

    fn changed_by(&self, other: &Self) -> Change {
        let names = self.servers.keys().chain(other.servers.keys());
        let differs = |name: &&String| self.servers.get(*name) != other.servers.get(*name);
        let mut notes = Vec::new();
        if self.daemon != other.daemon {
            notes.push("what has changed in [daemon] counts when the daemon starts again".into());
        }
        Change {
            names: names.filter(differs).cloned().collect(),
            defaults: self.defaults != other.defaults,
            notes,
        }
    }
}

impl Entry {
    /// Says whether it may be used.
    pub(crate) fn is_enabled(&self) -> bool {
        self.table.enabled != Some(false)
    }

    /// Says whether it is to be kept connected.
    pub(crate) fn is_kept_warm(&self) -> bool {
        self.is_enabled() && self.table.warm == Some(true)
    }
}

fn cannot_be_used(name: &str, trouble: &str) -> String {
    format!("{name} cannot be used: {trouble}")
}

/// Says whether the file itself has values that nobody else should see.
fn holds_secrets(entry: &Entry) -> bool {
    let table = &entry.table;
    let literal = |text: &str| entry::variables(text).is_empty();
    let headers = table.headers.iter().flat_map(BTreeMap::values);
    let mut values = headers.flat_map(|texts| &texts.0);
    let clients = [
        table.static_oauth_client_info.as_ref(),
        table.identity_provider_client.as_ref(),
    ];
    // A query may be a key, as wherever a URL is shown.
    let url = |text: &String| {
        let url = url::Url::parse(text).ok();
        url.is_some_and(|url| has_credentials(&url) || url.query().is_some())
    };
    let proxy = |text: &String| url::Url::parse(text).is_ok_and(|url| has_credentials(&url));
    values.any(|value| literal(value))
        || table.url.as_ref().is_some_and(url)
        || table.proxy.as_ref().is_some_and(proxy)
        || clients.into_iter().flatten().any(|json| {
            !json.0.starts_with('@') && json.0.contains("client_secret") && literal(&json.0)
        })
}

fn has_credentials(url: &url::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

impl Source {
    fn text(&self) -> Result<String, String> {
        let text = file::read(&self.path);
        let text = text.map_err(|why| format!("{} {why}", self.path.display()))?;
        Ok(text.unwrap_or_default())
    }

    fn understand(&self, text: &str, check: &Check) -> Result<Configuration, String> {
        self.check(text, check).map_err(|wrong| {
            let path = self.path.display();
            match wrong.line {
                Some(line) => format!("{path}:{line}: {}", wrong.what),
                None => format!("{path}: {}", wrong.what),
            }
        })
    }

    fn check(&self, text: &str, check: &Check) -> Result<Configuration, Wrong> {
        let mut parsed = parse(text)?;
        let document = std::mem::take(&mut parsed.document);
        let around = self.surroundings();
        let defaults = Entry::new(document.defaults.clone(), &around);
        check_entry(&parsed, &["defaults"], &defaults, check)?;
        let mut servers = BTreeMap::new();
        for (name, table) in document.servers {
            let place = ["servers", name.as_str()];
            if let Err(why) = names::check(&name) {
                return Err(parsed.wrong(&place, format!("{name:?} {why}")));
            }
            if table.url.is_none() {
                return Err(parsed.wrong(&place, format!("the server {name} has no url")));
            }
            let entry = Entry::new(table.over(&document.defaults), &around);
            check_entry(&parsed, &place, &entry, check)?;
            servers.insert(name, entry);
        }
        Ok(Configuration {
            daemon: document.daemon,
            defaults,
            servers,
        })
    }

    fn empty(&self) -> Configuration {
        Configuration {
            daemon: DaemonTable::default(),
            defaults: Entry::new(ServerTable::default(), &self.surroundings()),
            servers: BTreeMap::new(),
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            home: self.home.as_deref(),
            folder: self.path.parent().unwrap_or(&self.path),
            variable: &self.variable,
        }
    }
}

fn check_entry(parsed: &Parsed, place: &[&str], entry: &Entry, check: &Check) -> Result<(), Wrong> {
    // What it would be checked by is not there.
    if entry.trouble.is_some() {
        return Ok(());
    }
    check(entry).map_err(|sentence| {
        let (what, key) = edit::in_keys(&sentence);
        let key = match key {
            // What is wrong is that it is not written, about the URL that needs it.
            Some("allow_http") => "url",
            Some(key) => key,
            None if what.contains("URL") => "url",
            None => "headers",
        };
        let path: Vec<&str> = place.iter().copied().chain([key]).collect();
        parsed.wrong(&path, what)
    })
}

#[cfg(test)]
mod tests;
