//! Two or three members, and who is told what.

use super::*;

fn subscribe(uri: &str) -> Change {
    Change::Subscribe(uri.into())
}

fn unsubscribe(uri: &str) -> Change {
    Change::Unsubscribe(uri.into())
}

fn with_members(members: &[u64]) -> Switches<&'static str> {
    let mut switches = Switches::default();
    switches.share(true);
    for member in members {
        switches.join(*member);
    }
    switches
}

/// An id of the daemon's own.
const OURS: u64 = 99;

fn mint() -> u64 {
    OURS
}

/// Asks as a member, with the member's number for an id.
fn ask(
    switches: &mut Switches<&'static str>,
    member: u64,
    change: Change,
    request: &'static str,
) -> Option<Course<&'static str>> {
    switches.ask(member, member, change, request)
}

fn settle(
    switches: &mut Switches<&'static str>,
    member: u64,
    change: &Change,
    outcome: Outcome,
) -> Vec<Course<&'static str>> {
    switches.settle(member, member, change, outcome, &mint)
}

#[test]
fn the_first_subscribes_and_the_last_unsubscribes() {
    let mut switches = with_members(&[1, 2]);
    let first = ask(&mut switches, 1, subscribe("a"), "first");
    assert_eq!(first, Some(Course::Upstream("first", None)));
    assert_eq!(
        ask(&mut switches, 2, subscribe("a"), "second"),
        None,
        "its turn"
    );
    let next = settle(&mut switches, 1, &subscribe("a"), Outcome::Done);
    assert_eq!(next, [Course::Here("second")]);
    let leaving = ask(&mut switches, 1, unsubscribe("a"), "leaves");
    assert_eq!(leaving, Some(Course::Here("leaves")));
    let last = ask(&mut switches, 2, unsubscribe("a"), "last");
    assert_eq!(last, Some(Course::Upstream("last", None)));
    assert_eq!(ask(&mut switches, 1, subscribe("a"), "again"), None);
    let next = settle(&mut switches, 2, &unsubscribe("a"), Outcome::Done);
    assert_eq!(next, [Course::Upstream("again", None)]);
}

#[test]
fn a_refused_subscription_is_asked_for_again_by_the_next() {
    let mut switches = with_members(&[1, 2, 3]);
    ask(&mut switches, 1, subscribe("a"), "1");
    ask(&mut switches, 2, subscribe("a"), "2");
    ask(&mut switches, 3, subscribe("a"), "3");
    let next = settle(&mut switches, 1, &subscribe("a"), Outcome::Refused);
    assert_eq!(next, [Course::Upstream("2", None)]);
    let next = settle(&mut switches, 2, &subscribe("a"), Outcome::Unknown);
    assert_eq!(next, [Course::Upstream("3", None)]);
    assert_eq!(switches.restore(), [subscribe("a")]);
}

#[test]
fn who_leaves_takes_along_what_was_its_own() {
    let mut switches = with_members(&[1, 2]);
    for (member, uri) in [(1, "a"), (1, "b"), (2, "b")] {
        ask(&mut switches, member, subscribe(uri), "");
        settle(&mut switches, member, &subscribe(uri), Outcome::Done);
    }
    let undo = switches.leave(1, &mint);
    assert_eq!(undo, [Course::Own(OURS, unsubscribe("a"))]);
    assert_eq!(ask(&mut switches, 2, subscribe("a"), "waits"), None);
    let next = switches.settle(1, OURS, &unsubscribe("a"), Outcome::Done, &mint);
    assert_eq!(next, [Course::Upstream("waits", None)]);
    assert_eq!(switches.subscribers("b"), [2].into());
    assert!(!switches.is_marked());
}

#[test]
fn the_level_is_the_most_verbose_that_anybody_wants() {
    let mut switches = with_members(&[1, 2]);
    let set = |level| Change::Level(level);
    // The other one never said, which stands for info.
    assert_eq!(
        ask(&mut switches, 1, set(Level::Error), "1"),
        Some(Course::Upstream("1", Some(set(Level::Info))))
    );
    assert_eq!(
        settle(&mut switches, 1, &set(Level::Error), Outcome::Done),
        []
    );
    assert_eq!(
        ask(&mut switches, 2, set(Level::Info), "2"),
        Some(Course::Here("2"))
    );
    assert_eq!(
        ask(&mut switches, 2, set(Level::Debug), "2"),
        Some(Course::Upstream("2", None))
    );
    assert_eq!(
        ask(&mut switches, 1, set(Level::Alert), "1"),
        None,
        "its turn"
    );
    assert_eq!(
        settle(&mut switches, 2, &set(Level::Debug), Outcome::Done),
        [Course::Here("1")]
    );
    assert!(!switches.admits(1, Some(Level::Error)));
    assert!(switches.admits(1, Some(Level::Alert)) && switches.admits(1, None));
    assert!(switches.admits(2, Some(Level::Debug)));
    let undo = switches.leave(2, &mint);
    assert_eq!(
        undo,
        [Course::Own(OURS, set(Level::Alert))],
        "nobody wants more"
    );
    assert_eq!(switches.rebalance(&mint), None, "it is being told");
    switches.join(3);
    assert_eq!(
        switches.settle(2, OURS, &set(Level::Alert), Outcome::Done, &mint),
        [Course::Own(OURS, set(Level::Info))]
    );
    assert!(switches.is_marked());
}

#[test]
fn a_refused_level_changes_nothing() {
    let mut switches = with_members(&[1]);
    let change = Change::Level(Level::Debug);
    ask(&mut switches, 1, change.clone(), "");
    assert_eq!(settle(&mut switches, 1, &change, Outcome::Refused), []);
    assert!(!switches.is_marked() && switches.admits(1, Some(Level::Debug)));
    assert_eq!(switches.restore(), []);
}

#[test]
fn an_update_is_for_who_is_subscribed_to_it_or_above_it() {
    let mut switches = with_members(&[1, 2]);
    for (member, uri) in [(1, "file:///a"), (2, "file:///a/b/"), (1, "x:")] {
        ask(&mut switches, member, subscribe(uri), "");
        settle(&mut switches, member, &subscribe(uri), Outcome::Done);
    }
    for (uri, members) in [
        ("file:///a", &[1][..]),
        ("file:///a/b/c", &[1, 2]),
        ("file:///a?q", &[1]),
        ("file:///ab", &[]),
        ("file:///", &[]),
        ("x:y", &[1]),
    ] {
        let expected: BTreeSet<u64> = members.iter().copied().collect();
        assert_eq!(switches.subscribers(uri), expected, "{uri}");
    }
}

#[test]
fn changes_are_read_and_written() {
    let envelope = |text: &str| Envelope::parse(Bytes::from(text.to_owned())).expect("valid");
    for change in [
        subscribe("a\"b"),
        unsubscribe("x:y"),
        Change::Level(Level::Warning),
    ] {
        let message = Envelope::parse(change.message(7)).expect("valid");
        assert_eq!(Change::of(&message), Some(Some(change)));
    }
    let unknown = envelope(r#"{"id":1,"method":"logging/setLevel","params":{"level":"loud"}}"#);
    assert_eq!(Change::of(&unknown), Some(None));
    assert_eq!(
        Change::of(&envelope(r#"{"id":1,"method":"tools/call"}"#)),
        None
    );
}

#[test]
fn what_is_taken_back_while_it_waits_blocks_nobody() {
    let level = Change::Level(Level::Debug);
    for change in [subscribe("a"), level] {
        let mut switches = with_members(&[1, 2, 3]);
        let first = ask(&mut switches, 1, change.clone(), "1");
        assert!(matches!(first, Some(Course::Upstream("1", None))));
        assert_eq!(ask(&mut switches, 2, change.clone(), "2"), None);
        assert_eq!(ask(&mut switches, 3, change.clone(), "3"), None);
        assert!(switches.withdraw(2, &change) && !switches.withdraw(2, &change));
        // One that is lost while it waits is taken back too.
        assert_eq!(settle(&mut switches, 3, &change, Outcome::Unknown), []);
        assert_eq!(settle(&mut switches, 1, &change, Outcome::Refused), []);
        let again = ask(&mut switches, 3, change, "3");
        assert!(matches!(again, Some(Course::Upstream("3", None))));
    }
}

#[test]
fn the_members_of_a_session_cannot_fill_the_memory() {
    let mut switches = with_members(&[1, 2]);
    for number in 0..MAX_URIS {
        let uri = subscribe(&number.to_string());
        assert!(!switches.is_full(&uri));
        ask(&mut switches, 1, uri.clone(), "1");
        settle(&mut switches, 1, &uri, Outcome::Done);
    }
    assert!(switches.is_full(&subscribe("more")));
    assert!(!switches.is_full(&subscribe("0")), "it is there already");
    let unknown = unsubscribe("more");
    let course = ask(&mut switches, 2, unknown.clone(), "2");
    assert_eq!(course, Some(Course::Upstream("2", None)));
    assert_eq!(settle(&mut switches, 2, &unknown, Outcome::Done), []);
    assert_eq!(switches.uris.len(), MAX_URIS);
}

#[test]
fn what_is_adopted_leaves_what_is_under_way_alone() {
    let mut switches = Switches::<u32>::default();
    switches.share(true);
    switches.join(1);
    switches.join(2);
    let subscribe = Change::Subscribe("a:1".into());
    let level = |level| Change::Level(level);
    let mint = || 100;
    assert_eq!(
        switches.ask(2, 5, subscribe.clone(), 5),
        Some(Course::Upstream(5, None))
    );
    assert_eq!(
        switches.ask(2, 6, level(Level::Error), 6),
        Some(Course::Upstream(6, Some(level(Level::Info))))
    );
    switches.adopt(1, &subscribe);
    switches.adopt(1, &level(Level::Debug));
    assert!(
        switches
            .settle(2, 5, &subscribe, Outcome::Done, &mint)
            .is_empty()
    );
    assert_eq!(switches.subscribers("a:1").len(), 2);
    assert_eq!(
        switches.settle(2, 6, &level(Level::Error), Outcome::Done, &mint),
        [Course::Own(100, level(Level::Debug))]
    );
}
