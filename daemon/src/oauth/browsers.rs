//! Who opens the browser for a sign-in: a shim that waits for it and has a
//! desktop, else the daemon on the newest desktop it has heard of, else nobody.
//!
//! One tab a sign-in: it is opened again only for a person who asks for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mcp_remote_proto::browser;
use mcp_remote_proto::v1::Display;
use tokio::sync::{mpsc, oneshot, watch};
use url::Url;

use super::identity::IdentityHash;

/// How long a shim may take to say whether a browser has started.
const SHIM_TIMEOUT: Duration = Duration::from_secs(15);

/// The address of a sign-in page. Whoever has it can finish or spoil the
/// sign-in: it goes to this user, never into a log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SignInUrl {
    url: Url,
    code: Option<Arc<UserCode>>,
}

/// What a person types in where the page does not lead back by itself (RFC 8628).
#[derive(PartialEq, Eq)]
pub(crate) struct UserCode {
    /// Plain and short.
    pub(crate) code: String,
    /// The page that asks for it.
    pub(crate) page: Url,
    /// Whether the address has it in it already.
    pub(crate) is_filled_in: bool,
}

impl SignInUrl {
    /// Takes a URL that has been checked.
    pub(crate) fn new(url: Url) -> Self {
        Self { url, code: None }
    }

    /// Takes a page that asks for a code, and the same with the code in it; both have
    /// been checked.
    pub(crate) fn by_code(page: &Url, complete: Option<&Url>, code: &str) -> Self {
        Self {
            url: complete.unwrap_or(page).clone(),
            code: Some(Arc::new(UserCode {
                code: code.to_owned(),
                page: page.clone(),
                is_filled_in: complete.is_some(),
            })),
        }
    }

    /// Returns it, for the user.
    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Returns what is typed in there.
    pub(crate) fn code(&self) -> Option<&UserCode> {
        self.code.as_deref()
    }
}

impl std::fmt::Debug for SignInUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignInUrl([redacted])")
    }
}

/// Asks a shim to open a browser.
#[derive(Debug)]
pub(crate) struct OpenBrowser {
    /// On what.
    pub(crate) url: SignInUrl,
    /// Takes whether it has.
    pub(crate) opened: oneshot::Sender<bool>,
}

/// Whether a browser shows a sign-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is being opened.
    #[default]
    Opening,
    /// It does.
    Opened,
    /// Nobody could or may open one.
    NotOpened,
}

/// Those who can open browsers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Browsers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Counts those who came.
    came: watch::Sender<u64>,
    open: fn(&str, &Display) -> bool,
}

#[derive(Debug, Default)]
struct State {
    attending: BTreeMap<u64, Attendant>,
    /// The newest desktop that a shim had.
    desktop: Option<Display>,
}

#[derive(Debug)]
struct Attendant {
    hash: IdentityHash,
    ask: mpsc::Sender<OpenBrowser>,
    can_open: bool,
    forbids: bool,
    asked_for: bool,
}

fn opened(outcome: Result<(), browser::OpenError>) -> bool {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the daemon could not open a browser");
    }
    outcome.is_ok()
}

/// A shim that waits for a sign-in, as long as this lives.
#[derive(Debug)]
pub(crate) struct Attending {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Attending {
    fn drop(&mut self) {
        drop(self.shared.lock().attending.remove(&self.id));
    }
}

impl Browsers {
    /// Starts with nobody.
    pub(crate) fn new() -> Self {
        Self::opening_with(|url, display| opened(browser::open(url, display)))
    }

    /// The same in a unit of systemd: a browser gets a unit of its own.
    pub(crate) fn apart() -> Self {
        Self::opening_with(|url, display| opened(browser::open_apart(url, display)))
    }

    fn opening_with(open: fn(&str, &Display) -> bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            came: watch::Sender::new(0),
            open,
        }))
    }

    /// Adds a shim of an identity. `asked_for`: a person runs it to sign in.
    pub(crate) fn attend(
        &self,
        hash: &IdentityHash,
        display: &Display,
        ask: mpsc::Sender<OpenBrowser>,
        asked_for: bool,
    ) -> Attending {
        let can_open = display.may_open_browser && !display.no_browser;
        let mut id = 0;
        self.0.came.send_modify(|came| {
            *came += 1;
            id = *came;
            let mut state = self.0.lock();
            if can_open {
                state.desktop = Some(display.clone());
            }
            let attendant = Attendant {
                hash: hash.clone(),
                ask,
                can_open,
                forbids: display.no_browser,
                asked_for,
            };
            state.attending.insert(id, attendant);
        });
        Attending {
            id,
            shared: self.0.clone(),
        }
    }

    /// Says whether nobody could show a page, as far as is known, and nobody wants
    /// that so.
    pub(super) fn are_missing(&self, hash: &IdentityHash) -> bool {
        let state = self.0.lock();
        let misses = |attendant: &Attendant| !attendant.can_open && !attendant.forbids;
        state.desktop.is_none() && state.of(hash).all(|(_, attendant)| misses(attendant))
    }

    /// Opens a browser unless one is open (`shown`), now or as soon as somebody
    /// comes who can; again for whoever comes to sign in. Not `unasked`: only for
    /// them. Says how it stands; never ends.
    pub(super) async fn show(
        &self,
        hash: &IdentityHash,
        url: &SignInUrl,
        mut shown: Shown,
        unasked: bool,
        mut say: impl FnMut(Shown),
    ) {
        let mut came = self.0.came.subscribe();
        let mut tried = HashSet::new();
        let mut tried_desktop = None;
        loop {
            came.borrow_and_update();
            while let Some((id, ask)) =
                self.0
                    .next(hash, unasked && shown != Shown::Opened, &mut tried)
            {
                if ask_one(&ask, url).await {
                    shown = Shown::Opened;
                    say(shown);
                    tried.extend(self.0.present(hash));
                } else {
                    tracing::debug!(id, "a shim could not open a browser");
                }
            }
            if shown != Shown::Opened
                && unasked
                && let Some(desktop) = self.0.desktop(hash)
                && tried_desktop.as_ref() != Some(&desktop)
            {
                tried_desktop = Some(desktop.clone());
                let (open, text) = (self.0.open, url.clone());
                let opened =
                    tokio::task::spawn_blocking(move || open(text.as_str(), &desktop)).await;
                if opened.unwrap_or(false) {
                    shown = Shown::Opened;
                    say(shown);
                    tried.extend(self.0.present(hash));
                }
            }
            if shown == Shown::Opening {
                shown = Shown::NotOpened;
                say(shown);
            }
            if came.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn ask_one(ask: &mpsc::Sender<OpenBrowser>, url: &SignInUrl) -> bool {
    let (opened, answer) = oneshot::channel();
    let url = url.clone();
    if ask.try_send(OpenBrowser { url, opened }).is_err() {
        return false;
    }
    matches!(
        tokio::time::timeout(SHIM_TIMEOUT, answer).await,
        Ok(Ok(true))
    )
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Returns one more to ask: who came to sign in first, else the newest.
    fn next(
        &self,
        hash: &IdentityHash,
        unasked: bool,
        tried: &mut HashSet<u64>,
    ) -> Option<(u64, mpsc::Sender<OpenBrowser>)> {
        let state = self.lock();
        if state.of(hash).any(|(_, attendant)| attendant.forbids) {
            return None;
        }
        let fits = |id: &u64, attendant: &Attendant| {
            attendant.can_open && !tried.contains(id) && (unasked || attendant.asked_for)
        };
        let (id, attendant) = state
            .of(hash)
            .filter(|(id, attendant)| fits(id, attendant))
            .max_by_key(|(id, attendant)| (attendant.asked_for, **id))?;
        tried.insert(*id);
        Some((*id, attendant.ask.clone()))
    }

    fn present(&self, hash: &IdentityHash) -> Vec<u64> {
        self.lock().of(hash).map(|(id, _)| *id).collect()
    }

    fn desktop(&self, hash: &IdentityHash) -> Option<Display> {
        let state = self.lock();
        match state.of(hash).any(|(_, attendant)| attendant.forbids) {
            true => None,
            false => state.desktop.clone(),
        }
    }
}

impl State {
    fn of(&self, hash: &IdentityHash) -> impl Iterator<Item = (&u64, &Attendant)> {
        let attending = self.attending.iter();
        attending.filter(move |(_, attendant)| attendant.hash == *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shim {
        asked: mpsc::Receiver<OpenBrowser>,
        _attending: Attending,
    }

    fn hash() -> IdentityHash {
        IdentityHash::parse("".as_ref(), &"a".repeat(64)).expect("a digest")
    }

    fn display(may_open_browser: bool) -> Display {
        Display {
            may_open_browser,
            display: ":0".into(),
            ..Display::default()
        }
    }

    fn attend(browsers: &Browsers, display: &Display, asked_for: bool) -> Shim {
        let (ask, asked) = mpsc::channel(1);
        Shim {
            asked,
            _attending: browsers.attend(&hash(), display, ask, asked_for),
        }
    }

    /// Begins to show a sign-in; what is said comes by the receiver.
    fn show(browsers: &Browsers) -> (mpsc::Receiver<Shown>, tokio::task::JoinSet<()>) {
        let url = Url::parse("https://as.example/authorize").expect("a URL");
        let (say, said) = mpsc::channel(8);
        let mut tasks = tokio::task::JoinSet::new();
        let browsers = browsers.clone();
        tasks.spawn(async move {
            let say = |shown| say.try_send(shown).expect("room");
            let url = SignInUrl::new(url);
            browsers
                .show(&hash(), &url, Shown::Opening, true, say)
                .await;
        });
        (said, tasks)
    }

    async fn answer(shim: &mut Shim, ok: bool) {
        let asked = shim.asked.recv().await.expect("it is asked");
        asked.opened.send(ok).expect("it waits");
    }

    #[tokio::test]
    async fn one_shim_with_a_desktop_is_asked_and_no_other() {
        let browsers = Browsers::opening_with(|_, _| panic!("the shim can"));
        let mut one = attend(&browsers, &display(true), false);
        let mut other = attend(&browsers, &display(true), false);
        let (mut said, _tasks) = show(&browsers);
        answer(&mut other, true).await;
        assert_eq!(said.recv().await, Some(Shown::Opened));
        drop(attend(&browsers, &display(true), false));
        assert!(one.asked.try_recv().is_err());
        let mut person = attend(&browsers, &display(true), true);
        answer(&mut person, true).await;
        assert_eq!(said.recv().await, Some(Shown::Opened));
    }

    #[tokio::test]
    async fn the_daemon_opens_it_on_the_newest_desktop_when_no_shim_can() {
        let browsers = Browsers::opening_with(|_, display| display.display == ":0");
        let mut failing = attend(&browsers, &display(true), false);
        let _blind = attend(&browsers, &display(false), false);
        let (mut said, _tasks) = show(&browsers);
        answer(&mut failing, false).await;
        assert_eq!(said.recv().await, Some(Shown::Opened));
    }

    #[tokio::test]
    async fn without_a_desktop_it_waits_for_somebody_who_has_one() {
        let browsers = Browsers::opening_with(|_, _| panic!("there is no desktop"));
        let _blind = attend(&browsers, &display(false), false);
        let (mut said, _tasks) = show(&browsers);
        assert_eq!(said.recv().await, Some(Shown::NotOpened));
        let mut person = attend(&browsers, &display(true), true);
        answer(&mut person, true).await;
        assert_eq!(said.recv().await, Some(Shown::Opened));
    }

    #[tokio::test]
    async fn browsers_are_missing_where_nobody_has_or_forbids_one() {
        let browsers = Browsers::opening_with(|_, _| panic!("nothing is shown"));
        assert!(browsers.are_missing(&hash()));
        let _blind = attend(&browsers, &display(false), true);
        assert!(browsers.are_missing(&hash()));
        let forbidding = Display {
            no_browser: true,
            ..display(true)
        };
        let forbids = attend(&browsers, &forbidding, false);
        assert!(!browsers.are_missing(&hash()), "it is wanted so");
        drop(forbids);
        assert!(browsers.are_missing(&hash()));
        drop(attend(&browsers, &display(true), false));
        assert!(!browsers.are_missing(&hash()), "the daemon knows a desktop");
    }

    #[tokio::test]
    async fn who_forbids_it_is_obeyed_by_the_daemon_too() {
        let browsers = Browsers::opening_with(|_, _| panic!("it is forbidden"));
        drop(attend(&browsers, &display(true), false));
        let forbidding = Display {
            no_browser: true,
            ..display(true)
        };
        let _person = attend(&browsers, &forbidding, true);
        let mut other = attend(&browsers, &display(true), false);
        let (mut said, _tasks) = show(&browsers);
        assert_eq!(said.recv().await, Some(Shown::NotOpened));
        assert!(other.asked.try_recv().is_err());
    }
}
