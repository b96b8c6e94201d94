//! Files that are damaged, away for a while, cannot be read or written, or are
//! changed by another daemon.

use std::path::PathBuf;

use super::*;

fn folder(setup: &Setup) -> PathBuf {
    setup.base.path().join("mcp-remote-d1")
}

fn tokens(setup: &Setup) -> PathBuf {
    let hash = Setup::identity().hash();
    folder(setup).join(format!("{hash}_tokens.json"))
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_written_again_with_what_is_known() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let token = daemon.source.current().expect("signed in");
    let whole = std::fs::read(tokens(&setup)).expect("there");
    std::fs::write(tokens(&setup), &whole[..whole.len() / 2]).expect("written");
    let token = daemon.renew(Some(&token)).await.expect("without anybody");
    assert!(setup.world.accepts(Some(&token)));
    assert_eq!(setup.stored().await.as_deref(), Some("access-2"));
    assert_eq!(setup.world.facts().registrations, 0);
}

#[tokio::test(start_paused = true)]
async fn files_that_were_away_for_a_while_are_found_again() {
    for was_rejected in [true, false] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        let old = daemon.source.current().expect("signed in");
        let aside = setup.base.path().join("aside");
        std::fs::rename(folder(&setup), &aside).expect("there");
        tokio::time::sleep(HOUR).await;
        assert_eq!(daemon.source.current(), None, "somebody has signed out");
        std::fs::rename(&aside, folder(&setup)).expect("there");
        let rejected = was_rejected.then_some(&old);
        let token = daemon.renew(rejected).await.expect("without anybody");
        assert!(setup.world.accepts(Some(&token)));
        let facts = setup.world.facts();
        assert_eq!((facts.refreshes, facts.registrations), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_read_are_read_again() {
    for asks in [true, false] {
        let setup = Setup::new();
        setup.signed_in().await.stop().await;
        let aside = setup.base.path().join("aside");
        std::fs::rename(folder(&setup), &aside).expect("there");
        std::fs::write(folder(&setup), "in the way").expect("written");
        let daemon = setup.start();
        daemon.source.ready().await;
        let answer = daemon.renew(None).await;
        assert!(
            matches!(answer, Err(TokenError::Transient(_))),
            "{answer:?}"
        );
        std::fs::remove_file(folder(&setup)).expect("there");
        std::fs::rename(&aside, folder(&setup)).expect("there");
        match asks {
            true => drop(daemon.renew(None).await.expect("without anybody")),
            false => tokio::time::sleep(Duration::from_secs(60)).await,
        }
        assert!(setup.world.accepts(daemon.source.current().as_ref()));
        assert_eq!(setup.world.facts().registrations, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_to_sign_in_where_another_daemon_has_somebody_signed_in() {
    let setup = Setup::new();
    let (one, other) = (setup.start(), setup.start());
    other.source.ready().await;
    let check = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let ask = |wanting| other.source.renew(None, None, wanting);
    let nobody = ask(check.clone()).await;
    assert!(nobody.is_err());
    let url = page(one.renew(None).await);
    one.come_back(&url, "code=good").await;
    one.source.signed_in(None).await.expect("signed in");
    for wanting in [check, Wanting::default()] {
        let token = ask(wanting).await.expect("without anybody");
        assert!(setup.world.accepts(Some(&token)));
    }
    assert_eq!(setup.world.facts().registrations, 1);
}

/// Renews while the file cannot be replaced, which is found out after the server has
/// given new tokens. Returns what the file was.
async fn renewed_but_not_stored(setup: &Setup, daemon: &setup::Daemon) -> Vec<u8> {
    let token = daemon.source.current().expect("signed in");
    let mut asked = setup.world.asked.subscribe();
    let before = std::fs::read(tokens(setup)).expect("there");
    let breaking = async {
        asked.changed().await.expect("it is asked");
        std::fs::remove_file(tokens(setup)).expect("there");
        std::fs::create_dir(tokens(setup)).expect("made");
    };
    let (renewed, ()) = tokio::join!(daemon.renew(Some(&token)), breaking);
    assert!(setup.world.accepts(renewed.ok().as_ref()));
    assert!(tokens(setup).is_dir());
    before
}

#[tokio::test(start_paused = true)]
async fn tokens_that_could_not_be_stored_are_stored_as_soon_as_that_works() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let before = renewed_but_not_stored(&setup, &daemon).await;
    let trouble = daemon.source.status().borrow().trouble.clone();
    assert!(trouble.is_some_and(|why| why.contains("not stored")));
    tokio::time::sleep(Duration::from_secs(20)).await;
    std::fs::remove_dir(tokens(&setup)).expect("there");
    std::fs::write(tokens(&setup), before).expect("written");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-2"));
    assert_eq!(daemon.source.status().borrow().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_could_not_be_stored_do_not_replace_newer_ones() {
    let setup = Setup::new();
    let (daemon, other) = (setup.signed_in().await, setup.start());
    other.source.ready().await;
    renewed_but_not_stored(&setup, &daemon).await;
    let token = daemon.source.current().expect("in use");
    std::fs::remove_dir(tokens(&setup)).expect("there");
    let url = page(other.renew(other.source.current().as_ref()).await);
    other.come_back(&url, "code=good").await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-3"));
    let token = daemon.renew(Some(&token)).await.expect("what there is");
    assert!(setup.world.accepts(Some(&token)));
    let facts = setup.world.facts();
    assert_eq!((facts.refreshes, facts.exchanges), (1, 1));
}
