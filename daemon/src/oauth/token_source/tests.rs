mod bounds;
mod by_code;
mod clients;
mod files;
mod killed;
mod kinds;
mod on_its_way;
mod refusals;
mod setup;
mod unattended;
mod week;
mod world;

use self::setup::{Setup, page};
use self::world::{Mode, sleep};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn many_requests_with_one_rejected_token_cause_one_refresh() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let old = daemon.source.current().expect("signed in");
    let asking = (0..50).map(|_| daemon.renew(Some(&old)));
    let answers = futures_util::future::join_all(asking).await;
    let new = daemon.source.current().expect("signed in");
    assert!(answers.iter().all(|answer| answer.as_ref() == Ok(&new)));
    assert!(setup.world.accepts(Some(&new)));
    // Whoever comes late with the old one gets what there is.
    assert_eq!(daemon.renew(Some(&old)).await, Ok(new));
    assert_eq!(setup.world.facts().refreshes, 1);
    assert_eq!(setup.stored().await.as_deref(), Some("access-2"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_goes_on_when_those_who_wait_for_it_have_gone() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let old = daemon.source.current().expect("signed in");
    let mut asked = setup.world.asked.subscribe();
    tokio::select! {
        _ = daemon.renew(Some(&old)) => panic!("it has just been asked for"),
        _ = asked.changed() => {}
    }
    let mut held = daemon.source.held.clone();
    held.changed().await.expect("the actor lives");
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_grant_causes_one_sign_in_for_everybody() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.revoke_all();
    let old = daemon.source.current().expect("it does not know yet");
    let asking = (0..50).map(|_| daemon.renew(Some(&old)));
    let pages: std::collections::HashSet<_> = futures_util::future::join_all(asking)
        .await
        .into_iter()
        .map(page)
        .collect();
    assert_eq!(pages.len(), 1);
    assert_eq!(setup.world.facts().refreshes, 1);
    assert_eq!(setup.stored().await, None);
    assert_eq!(daemon.source.status().borrow().state, AuthState::SigningIn);

    let url = pages.into_iter().next().expect("one");
    let waiting = (0..50).map(|_| daemon.source.signed_in(Some(&old)));
    let ((), answers) = tokio::join!(
        daemon.come_back(&url, "code=good"),
        futures_util::future::join_all(waiting)
    );
    let new = daemon.source.current().expect("signed in");
    assert!(answers.iter().all(|answer| answer.as_ref() == Ok(&new)));
    assert!(setup.world.accepts(Some(&new)));
    let facts = setup.world.facts();
    assert_eq!((facts.exchanges, facts.registrations), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn restarts_upgrades_and_expiry_meanwhile_sign_nobody_out() {
    let setup = Setup::new();
    setup.signed_in().await.stop().await;
    for _ in 0..5 {
        sleep(5 * HOUR);
        let daemon = setup.start();
        daemon.source.ready().await;
        // Renewed before the first request.
        assert!(setup.world.accepts(daemon.source.current().as_ref()));
        daemon.stop().await;
    }
    assert_eq!(setup.world.facts().refreshes, 5);
}

#[tokio::test(start_paused = true)]
async fn an_outage_never_costs_the_grant_and_is_not_hammered() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Down;
    tokio::time::sleep(2 * HOUR).await;
    let old = daemon.source.current().expect("nothing better is known");
    let asking = (0..50).map(|_| daemon.renew(Some(&old)));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer, Err(TokenError::Transient("it is down".into())));
    }
    let attempts = setup.world.facts().refreshes;
    assert!((60..100).contains(&attempts), "{attempts}");
    setup.world.facts().mode = Mode::Works;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
    assert_eq!(setup.world.facts().exchanges, 0);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_killed_at_any_step_of_a_refresh_leaves_a_grant_that_works() {
    for (mode, survives) in [(Mode::LosesRequest, true), (Mode::LosesAnswer, false)] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        setup.world.facts().mode = mode;
        let old = daemon.source.current().expect("signed in");
        let mut asked = setup.world.asked.subscribe();
        tokio::select! {
            _ = daemon.renew(Some(&old)) => panic!("there is no answer"),
            _ = asked.changed() => {}
        }
        assert_eq!(setup.stored().await.as_deref(), Some("access-1"));
        daemon.stop().await;
        setup.world.facts().mode = Mode::Works;
        let daemon = setup.start();
        daemon.source.ready().await;
        let token = daemon.source.current().expect("the old one is still there");
        let renewed = daemon.renew(Some(&token)).await;
        match survives {
            true => assert!(setup.world.accepts(renewed.ok().as_ref())),
            // The server has spent it: nobody could have kept the answer.
            false => assert!(page(renewed).starts_with(world::ISSUER)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_before_anybody_can_use_it() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    for expected in 2..10 {
        let token = daemon.source.current().expect("signed in");
        tokio::time::sleep(Duration::from_secs(11)).await;
        let new = daemon.renew(Some(&token)).await.expect("renewed");
        let stored = setup.stored().await.expect("kept");
        assert_eq!(new.header(), &format!("Bearer {stored}"));
        assert_eq!(stored, format!("access-{expected}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_file_was_taken_away_is_not_renewed() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let old = daemon.source.current().expect("signed in");
    let folder = setup.base.path().join("mcp-remote-d1");
    std::fs::remove_dir_all(folder).expect("there");
    assert!(!page(daemon.renew(Some(&old)).await).is_empty());
    assert_eq!(setup.world.facts().refreshes, 0);
}

#[tokio::test(start_paused = true)]
async fn what_another_daemon_has_renewed_is_used_and_not_renewed_again() {
    let setup = Setup::new();
    let (one, other) = (setup.signed_in().await, setup.start());
    other.source.ready().await;
    let old = one.source.current().expect("signed in");
    let old_too = other.source.current().expect("the same");
    let (renewed, adopted) = tokio::join!(one.renew(Some(&old)), other.renew(Some(&old_too)));
    let (renewed, adopted) = (renewed.expect("renewed"), adopted.expect("adopted"));
    assert_eq!(renewed.header(), adopted.header());
    assert_eq!(setup.world.facts().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn the_grant_goes_only_to_the_issuer_that_gave_it() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().issuer = "https://evil.example".into();
    let old = daemon.source.current().expect("signed in");
    let url = page(daemon.renew(Some(&old)).await);
    assert!(url.starts_with("https://evil.example/authorize"), "{url}");
    let facts = setup.world.facts();
    assert_eq!((facts.refreshes, facts.registrations), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_rejects_every_token_does_not_go_on_for_ever() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let first = daemon.source.current().expect("signed in");
    let second = daemon.renew(Some(&first)).await.expect("renewed");
    assert_eq!(daemon.renew(Some(&second)).await, Ok(second.clone()));
    let url = page(daemon.renew(Some(&second)).await);
    let third = daemon.sign_in(&url, Some(&second)).await;
    assert_eq!(daemon.renew(Some(&third)).await, Ok(third.clone()));
    for _ in 0..100 {
        let refused = daemon.renew(Some(&third)).await;
        assert!(
            matches!(refused, Err(TokenError::Rejected(_))),
            "{refused:?}"
        );
    }
    let facts = setup.world.facts();
    assert_eq!((facts.refreshes, facts.exchanges), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_right_after_a_refresh_wakes_up_signed_in() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let mut token = daemon.source.current().expect("signed in");
    for _ in 0..3 {
        // Nobody has used it yet, and timers have not moved.
        token = daemon.renew(Some(&token)).await.expect("without anybody");
        sleep(8 * HOUR);
    }
    setup.world.revoke_all();
    let url = page(daemon.renew(Some(&token)).await);
    daemon.come_back(&url, "code=good").await;
    let token = daemon.source.signed_in(Some(&token)).await;
    let token = token.expect("signed in");
    sleep(8 * HOUR);
    let renewed = daemon.renew(Some(&token)).await.expect("without anybody");
    assert!(setup.world.accepts(Some(&renewed)));
    assert_eq!(setup.world.facts().exchanges, 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_life_is_renewed_even_unused_but_none_at_all_is_not() {
    for (life, renewed) in [(8, true), (0, false)] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        setup.world.facts().life = Some(life);
        let token = daemon.source.current().expect("signed in");
        let token = daemon.renew(Some(&token)).await.expect("renewed");
        tokio::time::sleep(Duration::from_secs(life + 1)).await;
        let mut answer = daemon.renew(Some(&token)).await;
        if answer.as_ref().is_ok_and(|again| *again == token) {
            // Sent once more, since the server may not have heard of it.
            answer = daemon.renew(Some(&token)).await;
        }
        assert_eq!(answer.is_ok(), renewed);
    }
}

#[tokio::test(start_paused = true)]
async fn who_refuses_is_not_asked_again_at_once_but_may_ask() {
    let setup = Setup::new();
    let daemon = setup.start();
    let url = page(daemon.renew(None).await);
    daemon.come_back(&url, "error=access_denied").await;
    let refused = daemon.source.signed_in(None).await;
    assert!(matches!(
        refused,
        Err(TokenError::LoginRequired { sign_in: None, .. })
    ));
    for _ in 0..10 {
        let refused = daemon.renew(None).await;
        let Err(TokenError::LoginRequired { sign_in: None, why }) = refused else {
            panic!("somebody was asked again: {refused:?}");
        };
        assert!(why.is_some_and(|why| why.contains("access_denied")));
    }
    assert_eq!(setup.world.facts().registrations, 1);
    let explicit = Wanting {
        explicit: true,
        ..Wanting::default()
    };
    let again = daemon.source.renew(None, None, explicit).await;
    assert_ne!(page(again), url);
    // The registration is still good.
    assert_eq!(setup.world.facts().registrations, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_only_checks_makes_nobody_sign_in() {
    let setup = Setup::new();
    let daemon = setup.start();
    let check = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let answer = daemon.source.renew(None, None, check).await;
    assert!(matches!(
        answer,
        Err(TokenError::LoginRequired { sign_in: None, .. })
    ));
    assert_eq!(daemon.source.status().borrow().state, AuthState::NeedsLogin);
    assert_eq!(setup.world.facts().registrations, 0);
}

#[tokio::test(start_paused = true)]
async fn more_scopes_are_asked_for_with_the_old_ones_and_not_for_ever() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let mut token = daemon.source.current().expect("signed in");
    for _ in 0..3 {
        let url = page(daemon.step_up(&token, "write").await);
        assert!(
            url.contains("scope=read+write") || url.contains("scope=read%20write"),
            "{url}"
        );
        // What has the scopes that there are goes on meanwhile.
        assert_eq!(daemon.source.current().as_ref(), Some(&token));
        daemon.come_back(&url, "code=good").await;
        token = daemon
            .source
            .signed_in(Some(&token))
            .await
            .expect("signed in");
    }
    let refused = daemon.step_up(&token, "write").await;
    assert!(
        matches!(refused, Err(TokenError::Rejected(_))),
        "{refused:?}"
    );
    let url = page(daemon.step_up(&token, "admin").await);
    daemon.come_back(&url, "error=access_denied").await;
    drop(daemon.source.signed_in(Some(&token)).await);
    let refused = daemon.step_up(&token, "admin").await;
    assert!(
        matches!(refused, Err(TokenError::Rejected(_))),
        "{refused:?}"
    );
    assert!(setup.world.accepts(Some(&token)), "the grant is still good");
    assert_eq!(setup.world.facts().exchanges, 3);
}

#[tokio::test(start_paused = true)]
async fn more_scopes_than_the_client_was_registered_for_take_another_client() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let mut token = daemon.source.current().expect("signed in");
    for (scope, client) in [("write", "c1"), ("write", "c1"), ("admin", "c2")] {
        let url = page(daemon.step_up(&token, scope).await);
        assert!(url.contains(&format!("client_id={client}&")), "{url}");
        daemon.come_back(&url, "code=good").await;
        let new = daemon.source.signed_in(Some(&token)).await;
        token = new.expect("signed in");
    }
    daemon.stop().await;

    let daemon = setup.start();
    daemon.source.ready().await;
    let token = daemon.source.current().expect("signed in");
    let renewed = daemon.renew(Some(&token)).await.expect("by its client");
    assert!(setup.world.accepts(Some(&renewed)));
}

#[tokio::test(start_paused = true)]
async fn tokens_keep_their_client_when_nobody_gives_them_more_scopes() {
    for answer in [Some("error=access_denied"), None] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        let token = daemon.source.current().expect("signed in");
        let url = page(daemon.step_up(&token, "write").await);
        if let Some(answer) = answer {
            daemon.come_back(&url, answer).await;
        }
        // Without an answer half an hour passes.
        drop(daemon.source.signed_in(Some(&token)).await);
        let token = daemon.source.current().expect("the grant is still good");
        let token = daemon.renew(Some(&token)).await.expect("by its client");
        daemon.stop().await;
        let daemon = setup.start();
        daemon.source.ready().await;
        let stored = daemon.source.current().expect("kept");
        assert_eq!(stored.header(), token.header());
        let renewed = daemon.renew(Some(&stored)).await.expect("by its client");
        assert!(setup.world.accepts(Some(&renewed)));
        assert_eq!(setup.world.facts().exchanges, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_while_somebody_is_asked_for_more_scopes() {
    let setup = Setup::new();
    setup.world.facts().life = Some(600);
    let daemon = setup.signed_in().await;
    let first = daemon.source.current().expect("signed in");
    let url = page(daemon.step_up(&first, "write").await);
    tokio::time::sleep(Duration::from_secs(25 * 60)).await;
    let token = daemon.source.current().expect("renewed");
    assert!(setup.world.accepts(Some(&token)));
    assert!(setup.world.facts().refreshes >= 3);
    let renewed = daemon.renew(Some(&token)).await.expect("without anybody");
    assert!(setup.world.accepts(Some(&renewed)));
    assert_eq!(page(daemon.step_up(&renewed, "write").await), url);
    daemon.come_back(&url, "code=good").await;
    let last = daemon.source.signed_in(Some(&renewed)).await;
    assert!(setup.world.accepts(last.ok().as_ref()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_no_end_asks_somebody_and_keeps_the_grant() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Refuses;
    let old = daemon.source.current().expect("signed in");
    assert!(!page(daemon.renew(Some(&old)).await).is_empty());
    assert_eq!(setup.stored().await.as_deref(), Some("access-1"));
}

#[tokio::test(start_paused = true)]
async fn nobody_finishes_and_the_next_one_registers_anew() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.revoke_all();
    let old = daemon.source.current().expect("signed in");
    let first = page(daemon.renew(Some(&old)).await);
    // Half an hour passes.
    let ended = daemon.source.signed_in(Some(&old)).await;
    assert!(matches!(
        ended,
        Err(TokenError::LoginRequired { sign_in: None, .. })
    ));
    tokio::time::sleep(Duration::from_secs(61)).await;
    let second = page(daemon.renew(Some(&old)).await);
    assert_ne!(first, second);
    let verifier = std::fs::read_dir(setup.base.path().join("mcp-remote-d1"))
        .expect("there")
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .ends_with("verifier.txt")
        });
    assert_eq!(verifier.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_logout_revokes_and_forgets_and_ends_a_sign_in() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let done = daemon.source.log_out().await;
    assert!(done.was_signed_in && done.notes.is_empty(), "{done:?}");
    assert_eq!(
        (daemon.source.current(), setup.stored().await),
        (None, None)
    );
    assert_eq!(setup.world.facts().revocations, 1);
    assert_eq!(daemon.source.status().borrow().state, AuthState::Anonymous);

    let url = page(daemon.renew(None).await);
    let done = daemon.source.log_out().await;
    assert!(!done.was_signed_in);
    daemon.come_back(&url, "code=good").await;
    assert_eq!(
        (daemon.source.current(), setup.stored().await),
        (None, None)
    );
}

#[tokio::test(start_paused = true)]
async fn lives_of_a_second_or_of_ages_cause_no_storm() {
    for (life, most) in [(1, 121), (u64::MAX, 0)] {
        let setup = Setup::new();
        setup.world.facts().life = Some(life);
        let daemon = setup.signed_in().await;
        tokio::time::sleep(HOUR).await;
        let refreshes = setup.world.facts().refreshes;
        assert!(refreshes <= most, "{refreshes} for {life}");
        drop(daemon);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_in_no_debug_output() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let shown = format!("{:?} {:?}", daemon.source, daemon.source.current());
    assert!(
        !shown.contains("access-") && !shown.contains("refresh-"),
        "{shown}"
    );
}
