use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::json;

use super::*;
use crate::http::NetworkOptions;
use crate::oauth::identity::ClientChoice;
use crate::server_url::ServerUrl;

fn identity() -> Identity {
    let server = ServerUrl::parse("https://mcp.example.com/mcp", false).expect("valid");
    Identity::new(server, NetworkOptions::default())
}

fn grant(access: &str) -> Grant {
    grant_of(access, "c")
}

fn grant_of(access: &str, client: &str) -> Grant {
    let client = json!({ "client_id": client, "issuer": "https://as" });
    let text = json!({ "access_token": access, "refresh_token": "r", "issuer": "https://as",
        "client": client });
    Grant::read(text.to_string().as_bytes(), None).expect("a token")
}

fn access(grant: Option<&Grant>) -> Option<&str> {
    grant.map(|grant| grant.access_token.reveal().as_str())
}

async fn kept(store: &Store) -> Option<Grant> {
    let on_disk = store.tokens(&identity().hash()).await;
    on_disk.expect("readable").tokens()
}

fn npm(base: &Path, folder: &str, name: &str, content: &serde_json::Value) {
    let folder = base.join(folder);
    fs::create_dir_all(&folder).expect("made");
    let hash = &identity().npm_hashes()[0];
    fs::write(folder.join(format!("{hash}_{name}")), content.to_string()).expect("written");
}

fn names(base: &Path) -> Vec<String> {
    let hash = identity().hash();
    let entries = fs::read_dir(base.join(FOLDER)).expect("there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().into_string())
        .map(|name| name.expect("ASCII").replace(hash.as_str(), "H"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_kept_is_found_under_the_documented_names() {
    let base = tempfile::tempdir().expect("a folder");
    let store = Store::new(base.path().join("auth"), TokenStoreKind::Files);
    let hash = identity().hash();
    let nothing = store.load(&identity()).await.expect("nothing there");
    assert!(nothing.grant.is_none() && nothing.client.is_none());
    assert!(!base.path().join("auth").exists());

    store.put_grant(&hash, &grant("a")).await.expect("kept");
    let sign_in = crate::oauth::kept_sign_in::tests::kept("verifier");
    store.put_sign_in(&hash, &sign_in).await.expect("kept");
    assert_eq!(
        names(&base.path().join("auth")),
        [
            "H_client_info.json",
            "H_code_verifier.txt",
            "H_sign_in.json",
            "H_tokens.json"
        ]
    );
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(access(stored.grant.as_ref()), Some("a"));
    assert_eq!(stored.client, grant("a").client);
    assert_eq!(
        store.identities().await.expect("readable")[..],
        [IdentityHash::parse(&base.path().join("auth"), hash.as_str()).expect("digits")]
    );

    assert!(stored.sign_in.is_some());
    store.remove_sign_in(&hash).await.expect("gone");
    let stored = store.load(&identity()).await.expect("readable");
    assert!(stored.sign_in.is_none() && stored.grant.is_some());
    store.forget(&hash).await.expect("gone");
    assert_eq!(names(&base.path().join("auth")), ["H_imported.txt"]);
    store.forget(&hash).await.expect("gone already");
}

#[tokio::test]
async fn the_npm_packages_sign_in_is_taken_over_once_and_left_as_it_is() {
    let base = tempfile::tempdir().expect("a folder");
    let tokens = json!({ "access_token": "npm", "refresh_token": "r", "expires_in": 3600 });
    npm(
        base.path(),
        "mcp-remote-0.1.37",
        "tokens.json",
        &json!({ "access_token": "old" }),
    );
    npm(base.path(), "mcp-remote-v1", "tokens.json", &tokens);
    npm(
        base.path(),
        "mcp-remote-v1",
        "client_info.json",
        &json!({ "client_id": "c" }),
    );
    let path = base.path().join("mcp-remote-v1");
    let path = path.join(format!("{}_tokens.json", identity().npm_hashes()[0]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");

    let store = Store::new(base.path().to_owned(), TokenStoreKind::Files);
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(access(stored.grant.as_ref()), Some("npm"));
    let taken = stored.grant.expect("there");
    assert!(taken.expires_at.is_some());
    assert_eq!(taken.client, stored.client);
    assert_eq!(stored.client.expect("there").client_id, "c");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let hash = identity().hash();
    store.put_grant(&hash, &grant("ours")).await.expect("kept");
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(access(stored.grant.as_ref()), Some("ours"));
    store.forget(&hash).await.expect("gone");
    let stored = store.load(&identity()).await.expect("readable");
    assert!(stored.grant.is_none() && stored.client.is_none());
    assert!(path.exists());
}

#[tokio::test]
async fn the_npm_packages_sign_in_is_taken_over_after_attempts_of_ours_too() {
    let base = tempfile::tempdir().expect("a folder");
    let store = Store::new(base.path().to_owned(), TokenStoreKind::Files);
    let hash = identity().hash();
    let attempt = json!({ "client_id": "ours" });
    let attempt = Client::of_kept(attempt.as_object().expect("an object").clone());
    files::prepare_folder(&store.0.ours).expect("made");
    store.0.keep_client(&hash, attempt.as_ref());
    let npm = |name, document| npm(base.path(), "mcp-remote-v1", name, &document);
    npm("client_info.json", json!({ "client_id": "theirs" }));
    let stored = store.load(&identity()).await.expect("readable");
    assert!(attempt.is_some());
    let id = |client: Option<Client>| client.map(|client| client.client_id);
    assert_eq!(id(stored.client), id(attempt), "it has no tokens yet");
    npm("tokens.json", json!({ "access_token": "npm" }));
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(access(stored.grant.as_ref()), Some("npm"));
    assert_eq!(stored.client.expect("its own").client_id, "theirs");
    assert!(stored.taken_over);
    let again = store.load(&identity()).await.expect("readable");
    assert!(again.grant.is_some() && !again.taken_over);
}

#[tokio::test]
async fn files_that_nobody_should_trust_are_ignored_and_replaced() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, hash) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        identity().hash(),
    );
    store.put_grant(&hash, &grant("a")).await.expect("kept");
    let path = base.path().join(FOLDER).join(format!("{hash}_tokens.json"));
    let whole = fs::read(&path).expect("there");

    let elsewhere = base.path().join("elsewhere");
    fs::write(&elsewhere, &whole).expect("written");
    let damages: [&dyn Fn(); 4] = [
        &|| fs::write(&path, &whole[..whole.len() / 2]).expect("written"),
        &|| fs::write(&path, "<html>").expect("written"),
        &|| fs::write(&path, "").expect("written"),
        &|| {
            fs::remove_file(&path).expect("there");
            symlink(&elsewhere, &path).expect("made");
        },
    ];
    for damage in damages {
        damage();
        let stored = store.load(&identity()).await.expect("readable");
        assert!(stored.grant.is_none());
        store.put_grant(&hash, &grant("b")).await.expect("kept");
        let stored = kept(&store).await;
        assert_eq!(access(stored.as_ref()), Some("b"));
    }
    assert_eq!(fs::read(&elsewhere).expect("there"), whole);
}

#[tokio::test]
async fn what_could_not_be_kept_is_not_asked_for() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, hash) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        identity().hash(),
    );
    store.put_grant(&hash, &grant("a")).await.expect("kept");
    let path = base.path().join(FOLDER).join(format!("{hash}_tokens.json"));
    fs::remove_file(&path).expect("there");
    fs::create_dir(&path).expect("made");
    let error = store.reserve(&hash).await.expect_err("no room");
    assert!(
        error.to_string().contains("is not a regular file"),
        "{error}"
    );
    fs::remove_dir(&path).expect("empty");

    let reserved = store.reserve(&hash).await.expect("room");
    assert!(kept(&store).await.is_none());
    reserved.put(&grant("b")).await.expect("kept");
    let stored = kept(&store).await;
    assert_eq!(access(stored.as_ref()), Some("b"));
    drop(store.reserve(&hash).await.expect("room"));
    assert_eq!(names(base.path()), ["H_client_info.json", "H_tokens.json"]);
}

#[tokio::test]
async fn tokens_keep_their_client_wherever_a_daemon_dies() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, hash) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        identity().hash(),
    );
    let client = |grant: Option<Grant>| Some(grant?.client?.client_id);
    let path = |name| base.path().join(FOLDER).join(format!("{hash}_{name}"));
    let put = async |access, client| {
        let grant = grant_of(access, client);
        store.put_grant(&hash, &grant).await.expect("kept");
    };
    put("a", "c1").await;
    let before = fs::read(path(CLIENT)).expect("there");
    put("b", "c2").await;
    let registered = store.load(&identity()).await.expect("readable").client;
    assert_eq!(registered.map(|client| client.client_id), Some("c2".into()));
    // It dies before the second file.
    fs::write(path(CLIENT), before).expect("written");
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(client(stored.grant), Some("c2".into()));
    // A client that is to be used no more is still that of the tokens.
    store.remove_client(&hash).await.expect("gone");
    let stored = store.load(&identity()).await.expect("readable");
    assert!(stored.client.is_none());
    assert_eq!(client(stored.grant), Some("c2".into()));

    // Written by somebody who keeps the two apart.
    for (issuer, expected) in [("https://as/", Some("c3".into())), ("https://other", None)] {
        let tokens = json!({ "access_token": "x", "issuer": "https://as" });
        fs::write(path(TOKENS), tokens.to_string()).expect("written");
        let document = json!({ "client_id": "c3", "issuer": issuer });
        fs::write(path(CLIENT), document.to_string()).expect("written");
        let grant = kept(&store).await;
        assert_eq!(client(grant), expected);
    }
}

#[tokio::test]
async fn a_client_given_by_hand_is_not_the_one_that_the_npm_package_has_stored() {
    let base = tempfile::tempdir().expect("a folder");
    let tokens = json!({ "access_token": "npm", "refresh_token": "r" });
    npm(base.path(), "mcp-remote-v1", "tokens.json", &tokens);
    let client = json!({ "client_id": "of earlier days" });
    npm(base.path(), "mcp-remote-v1", "client_info.json", &client);
    let mut identity = identity();
    identity.client = ClientChoice::PreRegistered {
        client_id: "mine".into(),
        client_secret: None,
        auth_method: None,
        redirect_uris: Vec::new(),
        issuer: None,
    };
    let store = Store::new(base.path().to_owned(), TokenStoreKind::Files);
    for _ in 0..2 {
        let stored = store.load(&identity).await.expect("readable");
        assert!(stored.client.is_none());
        assert!(stored.grant.expect("taken over").client.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_renews_at_a_time() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, other) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
    );
    let hash = identity().hash();
    let held = store.lock(&hash).await.expect("free");
    let refused = other.lock(&hash).await.expect_err("held");
    assert!(matches!(refused, StoreError::Locked(_)));
    drop(held);
    other.lock(&hash).await.expect("free again");
}

/// A keyring in memory; `locked`: nobody gets in.
#[derive(Debug, Default)]
struct Ring {
    secrets: std::sync::Mutex<std::collections::BTreeMap<String, Vec<u8>>>,
    locked: std::sync::atomic::AtomicBool,
}

/// A store whose secrets are in a keyring in memory.
pub(crate) fn in_keyring(base: &Path) -> Store {
    Store::with(base.to_owned(), Some(Arc::new(Ring::default())))
}

impl Ring {
    fn open(
        &self,
    ) -> Result<std::sync::MutexGuard<'_, std::collections::BTreeMap<String, Vec<u8>>>, String>
    {
        match self.locked.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err("it is locked".into()),
            false => Ok(self.secrets.lock().expect("no test panics in it")),
        }
    }
}

impl Keyring for Ring {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        Ok(self.open()?.get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), String> {
        self.open()?.insert(name.into(), secret.into());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.open()?.remove(name);
        Ok(())
    }
}

#[tokio::test]
async fn what_is_kept_in_the_keyring_is_in_no_file() {
    let base = tempfile::tempdir().expect("a folder");
    let (ring, hash) = (Arc::new(Ring::default()), identity().hash());
    let files = Store::new(base.path().to_owned(), TokenStoreKind::Files);
    files.put_grant(&hash, &grant("file")).await.expect("kept");

    let store = Store::with(base.path().to_owned(), Some(ring.clone()));
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(
        access(stored.grant.as_ref()),
        Some("file"),
        "it moves there"
    );
    let client = json!({ "client_id": "c", "issuer": "https://as" });
    let client = Client::of_kept(client.as_object().expect("an object").clone());
    let reserved = store.reserve(&hash).await.expect("reachable");
    let new = grant("ring").got_by(client.clone());
    reserved.put(&new).await.expect("kept");
    let sign_in = crate::oauth::kept_sign_in::tests::kept("verifier");
    store.put_sign_in(&hash, &sign_in).await.expect("kept");
    assert_eq!(names(base.path()), ["H_keyring.txt"]);
    let stored = store.load(&identity()).await.expect("readable");
    assert_eq!(access(stored.grant.as_ref()), Some("ring"));
    assert!(stored.sign_in.is_some() && stored.client == client);
    let known = store.identities().await.expect("readable");
    assert_eq!(
        known.iter().map(IdentityHash::as_str).collect::<Vec<_>>(),
        [hash.as_str()]
    );

    store.forget(&hash).await.expect("gone");
    assert!(ring.secrets.lock().expect("whole").is_empty());
    assert_eq!(names(base.path()), ["H_imported.txt"]);
}

#[tokio::test]
async fn where_the_keyring_is_locked_nothing_is_kept_elsewhere() {
    let base = tempfile::tempdir().expect("a folder");
    let (ring, hash) = (Arc::new(Ring::default()), identity().hash());
    let store = Store::with(base.path().to_owned(), Some(ring.clone()));
    store.put_grant(&hash, &grant("a")).await.expect("kept");
    ring.locked
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = store.put_grant(&hash, &grant("b")).await;
    let sentence = refused.expect_err("locked").to_string();
    assert!(
        sentence.contains("keyring cannot be used: it is locked"),
        "{sentence}"
    );
    assert!(store.reserve(&hash).await.is_err() && store.load(&identity()).await.is_err());
    assert_eq!(names(base.path()), ["H_keyring.txt"]);
    ring.locked
        .store(false, std::sync::atomic::Ordering::Relaxed);
    let stored = store.tokens(&hash).await.expect("readable").tokens();
    assert_eq!(access(stored.as_ref()), Some("a"));
}

#[tokio::test]
async fn only_the_absence_of_a_file_says_that_nobody_is_signed_in() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, hash) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        identity().hash(),
    );
    store.put_grant(&hash, &grant("a")).await.expect("kept");
    let path = base.path().join(FOLDER).join(format!("{hash}_tokens.json"));
    fs::write(&path, "{").expect("written");
    let on_disk = store.tokens(&hash).await.expect("readable");
    assert!(matches!(on_disk, OnDisk::Damaged));
    fs::remove_file(&path).expect("there");
    let on_disk = store.tokens(&hash).await.expect("readable");
    assert!(matches!(on_disk, OnDisk::Nothing));
    fs::remove_dir_all(base.path().join(FOLDER)).expect("there");
    let on_disk = store.tokens(&hash).await.expect("readable");
    assert!(matches!(on_disk, OnDisk::Nothing));
    fs::write(base.path().join(FOLDER), "").expect("written");
    store.tokens(&hash).await.expect_err("a file in the way");
}

#[tokio::test]
async fn what_could_not_be_kept_never_replaces_what_others_have_kept() {
    let base = tempfile::tempdir().expect("a folder");
    let (store, hash) = (
        Store::new(base.path().to_owned(), TokenStoreKind::Files),
        identity().hash(),
    );
    let put = async |access| store.put_grant(&hash, &grant(access)).await.expect("kept");
    let after = |before: Option<&str>| {
        let before = before.map(grant);
        Unsaved::new(&StoreError::Stopping, before.as_ref())
    };
    let check = async |before, expected| {
        let saved = store.save(&hash, &grant("new"), &after(before)).await;
        saved.expect("kept, or not needed");
        assert_eq!(access(kept(&store).await.as_ref()), expected);
    };
    check(Some("old"), None).await;
    check(None, Some("new")).await;
    put("old").await;
    check(Some("old"), Some("new")).await;
    put("another").await;
    check(Some("old"), Some("another")).await;
    check(None, Some("another")).await;
    let path = base.path().join(FOLDER).join(format!("{hash}_tokens.json"));
    fs::write(&path, "{").expect("written");
    check(Some("old"), Some("new")).await;
}
