use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::http::NetworkOptions;
use crate::oauth::grant::Grant;
use crate::oauth::identity::Identity;
use crate::oauth::store::tests::in_keyring;
use crate::oauth::store::{Replaced, TokenStoreKind};

fn identity(url: &str) -> Identity {
    let server = ServerUrl::parse(url, true).expect("valid");
    Identity::new(server, NetworkOptions::default())
}

fn grant(access: &str) -> Grant {
    let text = json!({ "access_token": access, "refresh_token": "r", "issuer": "https://as" });
    Grant::read(text.to_string().as_bytes(), None).expect("a token")
}

fn moving<'a>(store: &Store, folder: &'a Path, file: &'a Path) -> Moving<'a> {
    Moving {
        store: store.clone(),
        folder,
        file,
        server: None,
        passphrase: Secret::new("correct horse".into()),
    }
}

async fn access(store: &Store, url: &str) -> Option<String> {
    let on_disk = store.tokens(&identity(url).hash()).await;
    let grant = on_disk.expect("readable").tokens();
    grant.map(|grant| grant.access_token.reveal().clone())
}

#[tokio::test]
async fn what_is_in_the_keyring_moves_out_of_it_and_into_it() {
    const RING: &str = "https://ring.example/mcp";
    const FILE: &str = "https://file.example/mcp";
    let base = tempfile::tempdir().expect("a folder");
    let (here, there) = (base.path().join("here"), base.path().join("there"));
    let bundle: PathBuf = base.path().join("moved.age");
    let secret = |text: &str| Secret::new(text.to_owned());
    let provider = identity("https://idp.example/").hash();

    let ring = in_keyring(&here);
    let put = async |store: &Store, url: &str, access: &str| {
        let put = store.put_grant(&identity(url).hash(), &grant(access)).await;
        put.expect("kept");
    };
    put(&ring, RING, "ring").await;
    // Kept before somebody wanted the keyring.
    let files = Store::new(here.clone(), TokenStoreKind::Files);
    put(&files, FILE, "file").await;
    let successor = Successor {
        refresh_token: secret("second"),
        file: None,
        client: None,
    };
    let room = ring.reserve_subject(&provider).await.expect("room");
    room.put(&secret("first"), &successor).await.expect("kept");

    let said = moving(&ring, &here, &bundle).take_out().await;
    let said = said.expect("moved");
    assert!(said.contains("Moved 3 sign-ins"), "{said}");
    assert_eq!(access(&ring, RING).await, None);
    assert_eq!(access(&ring, FILE).await, None);
    let left = ring.successor(&provider).await.expect("readable");
    assert!(left.is_none());
    let given = ring.subject(&provider, &secret("first")).await;
    assert_eq!(given.expect("readable"), Replaced::Elsewhere);

    let ring = in_keyring(&there);
    let said = moving(&ring, &there, &bundle).take_in(false).await;
    assert!(said.expect("moved").contains("Took over 3 sign-ins"));
    assert_eq!(access(&ring, RING).await.as_deref(), Some("ring"));
    assert_eq!(access(&ring, FILE).await.as_deref(), Some("file"));
    let given = ring.subject(&provider, &secret("first")).await;
    assert_eq!(given.expect("readable"), Replaced::By(secret("second")));
    let entries = std::fs::read_dir(there.join("mcp-remote-d1")).expect("there");
    for entry in entries {
        let path = entry.expect("readable").path();
        let name = path.to_string_lossy().into_owned();
        assert!(!name.ends_with(".json"), "{name} is a file");
    }
}

#[tokio::test]
async fn where_the_keyring_is_not_asked_its_tokens_are_not_said_to_be_none() {
    let base = tempfile::tempdir().expect("a folder");
    let hash = identity("https://ring.example/mcp").hash();
    let ring = in_keyring(base.path());
    ring.put_grant(&hash, &grant("ring")).await.expect("kept");
    let bundle = base.path().join("moved.age");
    let files = Store::new(base.path().to_owned(), TokenStoreKind::Files);
    let refused = moving(&files, base.path(), &bundle).take_out().await;
    let why = refused.expect_err("nothing is there");
    assert!(why.contains("MCP_REMOTE_TOKEN_STORE=keyring"), "{why}");
    assert!(!bundle.exists());
}
