//! What the next daemon does with a sign-in that was under way.

use std::path::PathBuf;

use super::*;
use crate::oauth::authorization::Code;
use crate::oauth::kept_sign_in::KeptSignIn;
use crate::oauth::kept_sign_in::tests::kept;
use crate::secret::Secret;

/// A sign-in of the client that is registered.
fn under_way() -> KeptSignIn {
    let mut sign_in = kept("verifier");
    sign_in.pending.issuer = world::ISSUER.into();
    sign_in.pending.iss_expected = false;
    sign_in.pending.redirect_uri = "http://127.0.0.1:0/oauth/callback".into();
    sign_in.since = world::now();
    sign_in
}

async fn keep(setup: &Setup, sign_in: &KeptSignIn) {
    let (store, hash) = (setup.store(), Setup::identity().hash());
    store.put_sign_in(&hash, sign_in).await.expect("kept");
}

fn code(code: &str) -> Code {
    Code(Secret::new(code.into()))
}

fn files(setup: &Setup) -> Vec<PathBuf> {
    let folder = setup.base.path().join("mcp-remote-d1");
    let entries = std::fs::read_dir(folder).expect("there").flatten();
    let paths = entries.map(|entry| entry.path());
    let of_sign_in = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with("sign_in.json") || name.ends_with("verifier.txt")
    };
    paths.filter(of_sign_in).collect()
}

/// A home where a client is registered and nobody is signed in.
async fn registered() -> Setup {
    let setup = Setup::new();
    setup.signed_in().await.stop().await;
    let hash = Setup::identity().hash();
    setup.store().remove_grant(&hash).await.expect("removed");
    setup
}

async fn settled(daemon: &setup::Daemon) -> AuthStatus {
    let mut status = daemon.source.status();
    daemon.source.ready().await;
    let ended = status.wait_for(|status| status.state != AuthState::SigningIn);
    ended.await.expect("the actor lives").clone()
}

#[tokio::test(start_paused = true)]
async fn a_code_that_came_is_turned_into_tokens_by_the_next_daemon() {
    let setup = registered().await;
    let mut sign_in = under_way();
    sign_in.answered(code("good"), None);
    keep(&setup, &sign_in).await;
    let daemon = setup.start();
    let token = daemon.renew(None).await.expect("without anybody");
    assert!(setup.world.accepts(Some(&token)));
    let (exchanges, registrations) = {
        let facts = setup.world.facts();
        (facts.exchanges, facts.registrations)
    };
    assert_eq!((exchanges, registrations), (1, 0));
    assert!(files(&setup).is_empty(), "nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_works_no_more_is_one_new_sign_in_at_once() {
    let setup = registered().await;
    let mut sign_in = under_way();
    sign_in.answered(code("spent"), None);
    keep(&setup, &sign_in).await;
    let daemon = setup.start();
    assert!(page(daemon.renew(None).await).starts_with(world::ISSUER));
    assert_eq!(setup.world.facts().exchanges, 1);
}

#[tokio::test(start_paused = true)]
async fn a_code_whose_tokens_are_kept_is_never_sent_again() {
    let setup = Setup::new();
    setup.signed_in().await.stop().await;
    let mut sign_in = under_way();
    // The daemon was killed between the tokens and the end of the sign-in.
    sign_in.answered(code("good"), None);
    keep(&setup, &sign_in).await;
    let daemon = setup.start();
    let status = settled(&daemon).await;
    assert_eq!(status.state, AuthState::SignedIn);
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
    daemon.stop().await;
    assert_eq!(setup.world.facts().exchanges, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_for_more_keeps_what_there_is_meanwhile() {
    let setup = Setup::new();
    setup.signed_in().await.stop().await;
    keep(&setup, &under_way()).await;
    let daemon = setup.start();
    daemon.source.ready().await;
    assert_eq!(daemon.source.status().borrow().state, AuthState::SigningIn);
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
    daemon
        .come_back(under_way().pending.url.as_str(), "code=good")
        .await;
    assert_eq!(settled(&daemon).await.state, AuthState::SignedIn);
    assert_eq!(setup.world.facts().exchanges, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_is_too_old_or_of_another_client_is_not_gone_on_with() {
    let setup = registered().await;
    let mut old = under_way();
    old.since = world::now() - 2 * HOUR;
    keep(&setup, &old).await;
    let daemon = setup.start();
    assert_eq!(settled(&daemon).await.state, AuthState::Anonymous);
    daemon.stop().await;

    let mut other = under_way();
    other.client = crate::oauth::kept_sign_in::tests::client("d");
    other.answered(code("good"), None);
    keep(&setup, &other).await;
    let daemon = setup.start();
    assert!(page(daemon.renew(None).await).starts_with(world::ISSUER));
    assert_eq!(setup.world.facts().exchanges, 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_keep_their_client_while_the_next_daemon_asks_as_another() {
    for answer in ["code=good", "error=access_denied", ""] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        let token = daemon.source.current().expect("signed in");
        let url = page(daemon.step_up(&token, "write").await);
        assert!(url.contains("client_id=c1&"), "{url}");
        daemon.stop().await;

        let daemon = setup.start();
        daemon.source.ready().await;
        let token = daemon.source.current().expect("kept");
        let token = daemon.renew(Some(&token)).await.expect("by its client");
        daemon.come_back(&url, answer).await;
        let signed_in = daemon.source.signed_in(Some(&token)).await;
        assert_eq!(signed_in.is_ok(), answer == "code=good");
        for _ in 0..2 {
            tokio::time::sleep(HOUR).await;
            let token = daemon.source.current().expect("by its client");
            assert!(setup.world.accepts(Some(&token)), "{answer}");
        }
        daemon.stop().await;
        sleep(HOUR);
        let daemon = setup.start();
        daemon.source.ready().await;
        assert!(setup.world.accepts(daemon.source.current().as_ref()));
        daemon.stop().await;
    }
}
