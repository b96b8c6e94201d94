//! The sign-in side of a relay stream: what the shim is told while somebody has
//! to sign in, and what it says of that. The relay itself knows nothing of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, StreamExt as _};
use mcp_remote_proto::v1::relay_request::Frame as Said;
use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{self, Display, RelayResponse, SignInState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::code_text;
use crate::oauth::Authority;
use crate::oauth::browsers::{Attending, OpenBrowser, Shown, SignInUrl};
use crate::oauth::identity::Identity;
use crate::oauth::token_source::{AuthState, AuthStatus, TokenSource};

/// Questions to a shim that may wait: it opens one browser at a time.
const QUESTIONS: usize = 1;

/// Sentences about pasted URLs that may wait for the shim's connection.
const SENTENCES: usize = 4;

/// Frames about signing in, in order; never ends before the daemon stops.
pub(super) struct SignInFrames {
    status: Changes,
    asked: mpsc::Receiver<OpenBrowser>,
    said: mpsc::Receiver<String>,
    answer: Answer,
    told: Told,
    frames: VecDeque<Frame>,
    source: Option<TokenSource>,
    /// Ends the shim's being there.
    _attending: Option<Attending>,
}

type Changes = Pin<Box<dyn Stream<Item = AuthStatus> + Send>>;

/// Who waits to hear whether the shim could open a browser.
type Answer = Arc<Mutex<Option<oneshot::Sender<bool>>>>;

/// Takes what the shim says of signing in.
#[derive(Debug, Clone)]
pub(super) struct SignInReplies {
    answer: Answer,
    said: mpsc::Sender<String>,
    authority: Authority,
    tasks: TaskTracker,
}

/// Adds a shim to those who wait for this grant, if its user does not give
/// credentials. `asked_for`: a person runs it to sign in.
pub(super) fn attend(
    authority: &Authority,
    source: Option<&TokenSource>,
    display: &Display,
    asked_for: bool,
    tasks: &TaskTracker,
) -> (SignInFrames, SignInReplies) {
    // Who is asked nothing need not hear of what others are asked: a code in the log of
    // a build is anybody's.
    let source = source.filter(|_| !display.non_interactive);
    let (ask, asked) = mpsc::channel(QUESTIONS);
    let (say, said) = mpsc::channel(SENTENCES);
    let answer = Answer::default();
    let frames = SignInFrames {
        status: source.map_or_else(
            || stream::empty().boxed(),
            |source| changes(source.status()),
        ),
        asked,
        said,
        answer: answer.clone(),
        told: Told {
            columns: display.stderr_columns,
            ..Told::default()
        },
        frames: VecDeque::new(),
        source: source.cloned(),
        _attending: source.map(|source| authority.attend(source.hash(), display, ask, asked_for)),
    };
    let replies = SignInReplies {
        answer,
        said: say,
        authority: authority.clone(),
        tasks: tasks.clone(),
    };
    (frames, replies)
}

/// The status now and after each change.
fn changes(status: watch::Receiver<AuthStatus>) -> Changes {
    let all = stream::unfold((status, true), |(mut status, first)| async move {
        if !first {
            status.changed().await.ok()?;
        }
        let now = status.borrow_and_update().clone();
        Some((now, (status, false)))
    });
    // It may be asked again after its end.
    Box::pin(all.fuse())
}

impl Stream for SignInFrames {
    type Item = RelayResponse;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.frames.pop_front() {
                return Poll::Ready(Some(RelayResponse { frame: Some(frame) }));
            }
            if let Poll::Ready(Some(status)) = this.status.poll_next_unpin(context) {
                if let Some(source) = &this.source {
                    let identity = source.identity();
                    if source.tell_of_origin(&status) {
                        this.frames.push_back(taken_over(identity.server.shown()));
                    }
                    let frames = this.told.about(&identity, &status);
                    this.frames.extend(frames);
                }
            } else if let Poll::Ready(Some(asked)) = this.asked.poll_recv(context) {
                let url = asked.url.as_str().to_owned();
                // Who asked before has stopped waiting.
                *lock(&this.answer) = Some(asked.opened);
                this.frames
                    .push_back(Frame::OpenBrowser(v1::OpenBrowser { url }));
            } else if let Poll::Ready(Some(text)) = this.said.poll_recv(context) {
                this.frames.push_back(Frame::Notice(v1::Notice {
                    level: v1::NoticeLevel::Error.into(),
                    text,
                }));
            } else {
                return Poll::Pending;
            }
        }
    }
}

impl SignInReplies {
    /// Takes a frame if it is about signing in, else returns it.
    pub(super) fn hear(&self, frame: Said) -> Option<Said> {
        match frame {
            Said::BrowserOpened(opened) => self.browser_opened(opened),
            Said::CompleteSignIn(pasted) => self.complete(pasted),
            other => return Some(other),
        }
        None
    }

    fn browser_opened(&self, opened: v1::BrowserOpened) {
        if let Some(answer) = lock(&self.answer).take() {
            // Who asked may have stopped waiting.
            let _sent = answer.send(opened.ok);
        }
    }

    /// Hands over what a person pasted; the shim hears why it was not the answer.
    fn complete(&self, pasted: v1::CompleteSignIn) {
        let (authority, said) = (self.authority.clone(), self.said.clone());
        self.tasks.spawn(async move {
            if let Err(why) = authority.complete(&pasted.redirect_url).await {
                // The shim may have gone.
                drop(said.send(why).await);
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds the lock")
}

fn taken_over(server: &str) -> Frame {
    notice(format!(
        "The sign-in to {server} was taken over from the npm package. From now on it is renewed here: npx mcp-remote may have to sign in anew."
    ))
}

fn notice(text: String) -> Frame {
    Frame::Notice(v1::Notice {
        level: v1::NoticeLevel::Info.into(),
        text,
    })
}

/// Says what a client that the user registered has to be registered with: that of the
/// identity provider where the sign-in is one there.
fn redirect_uri_to_register(identity: &Identity) -> Option<Frame> {
    if let Some(provider) = identity.identity_provider() {
        let uri = provider.assumed_redirect_uri()?;
        return Some(notice(format!(
            "The client of --identity-provider-client has to be registered with {uri}. If it is not, name its redirect_uris there or give its port."
        )));
    }
    let uri = identity.assumed_redirect_uri()?;
    Some(notice(format!(
        "The client of --static-oauth-client-info has to be registered with {uri}. If it is not, name its redirect_uris there or give its port; the npm package uses port {} for this server.",
        identity.npm_port()
    )))
}

/// What the shim has been told of the sign-in under way.
#[derive(Debug, Default)]
struct Told {
    url: Option<SignInUrl>,
    shown: Shown,
    /// Columns of its terminal; 0: it has none.
    columns: u32,
}

impl Told {
    /// Says what is new, and what a sign-in that begins depends on.
    fn about(&mut self, identity: &Identity, status: &AuthStatus) -> Vec<Frame> {
        let mut frames = Vec::new();
        for frame in self.frames(status, identity.server.shown()) {
            let begins = frame.state() == SignInState::Pending;
            let hidden = frame.state() == SignInState::BrowserNotOpened;
            let by_code = status
                .sign_in
                .as_ref()
                .is_some_and(|it| it.url.code().is_some());
            let offers_codes = status.sign_in.as_ref().is_some_and(|it| it.offers_codes);
            frames.push(Frame::SignIn(frame));
            if hidden && offers_codes {
                let login = identity.login_command();
                let login = login.replacen("mcp-remote login ", "mcp-remote login --device ", 1);
                frames.push(notice(format!(
                    "Or sign in by a code that you type in on any machine: {login}"
                )));
            }
            if begins && !by_code {
                frames.extend(redirect_uri_to_register(identity));
            }
        }
        frames
    }

    /// Says what is new.
    fn frames(&mut self, status: &AuthStatus, server: &str) -> Vec<v1::SignIn> {
        let frame = |state: SignInState, url: &str, text: String| v1::SignIn {
            state: state.into(),
            url: url.to_owned(),
            server: server.to_owned(),
            text,
        };
        let mut frames = Vec::new();
        let Some(pending) = &status.sign_in else {
            // Tokens may still be on their way.
            if status.state != AuthState::SigningIn && self.url.take().is_some() {
                frames.push(match (status.state, &status.trouble) {
                    (AuthState::SignedIn, _) => {
                        frame(SignInState::Done, "", format!("Signed in to {server}."))
                    }
                    (_, Some(why)) => {
                        let text = format!("The sign-in to {server} failed: {why}");
                        frame(SignInState::Failed, "", text)
                    }
                    (_, None) => {
                        let text = format!("The sign-in to {server} was given up.");
                        frame(SignInState::Failed, "", text)
                    }
                });
            }
            return frames;
        };
        let url = pending.url.as_str();
        if self.url.as_ref() != Some(&pending.url) {
            self.url = Some(pending.url.clone());
            self.shown = Shown::Opening;
            let text = code_text::below(&pending.url, self.columns);
            frames.push(frame(SignInState::Pending, url, text));
        }
        if self.shown != pending.shown {
            self.shown = pending.shown;
            match pending.shown {
                Shown::Opening => {}
                Shown::Opened => frames.push(frame(SignInState::BrowserOpened, url, String::new())),
                // There any browser will do, and nobody expects one here.
                Shown::NotOpened if pending.url.code().is_some() => {}
                Shown::NotOpened => {
                    frames.push(frame(SignInState::BrowserNotOpened, url, String::new()));
                }
            }
        }
        frames
    }
}

/// Frames of a relay and those about signing in, which come first: an error that
/// says where to sign in follows the notice about it. Ends with the relay's.
pub(super) fn beside(
    mut sign_in: SignInFrames,
    mut relay: impl Stream<Item = Result<RelayResponse, Status>> + Send + Unpin,
) -> impl Stream<Item = Result<RelayResponse, Status>> + Send {
    stream::poll_fn(move |context| {
        if let Poll::Ready(Some(frame)) = sign_in.poll_next_unpin(context) {
            return Poll::Ready(Some(Ok(frame)));
        }
        relay.poll_next_unpin(context)
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::oauth::identity::ClientChoice;
    use crate::oauth::sign_in::PendingSignIn;

    fn pending(url: &str, shown: Shown) -> AuthStatus {
        AuthStatus {
            state: AuthState::SigningIn,
            sign_in: Some(PendingSignIn {
                url: SignInUrl::new(url::Url::parse(url).expect("a URL")),
                since: SystemTime::UNIX_EPOCH,
                shown,
                offers_codes: false,
            }),
            ..AuthStatus::default()
        }
    }

    fn in_state(state: AuthState) -> AuthStatus {
        AuthStatus {
            state,
            ..AuthStatus::default()
        }
    }

    #[test]
    fn each_step_is_told_once() {
        use SignInState::{BrowserNotOpened, BrowserOpened, Done, Failed, Pending};
        let mut told = Told::default();
        let mut tell = |status: &AuthStatus| -> Vec<SignInState> {
            let frames = told.frames(status, "https://h/mcp");
            frames.iter().map(v1::SignIn::state).collect()
        };
        assert_eq!(tell(&in_state(AuthState::Anonymous)), []);
        assert_eq!(tell(&in_state(AuthState::SigningIn)), []);
        let one = "https://as/1";
        assert_eq!(tell(&pending(one, Shown::Opening)), [Pending]);
        assert_eq!(tell(&pending(one, Shown::Opening)), []);
        assert_eq!(tell(&pending(one, Shown::Opened)), [BrowserOpened]);
        assert_eq!(tell(&in_state(AuthState::SigningIn)), []);
        assert_eq!(tell(&in_state(AuthState::SignedIn)), [Done]);
        assert_eq!(tell(&in_state(AuthState::SignedIn)), []);
        let other = pending("https://as/2", Shown::NotOpened);
        assert_eq!(tell(&other), [Pending, BrowserNotOpened]);
        let again = pending("https://as/3", Shown::NotOpened);
        assert_eq!(tell(&again), [Pending, BrowserNotOpened]);
        assert_eq!(tell(&in_state(AuthState::NeedsLogin)), [Failed]);
        assert_eq!(tell(&in_state(AuthState::NeedsLogin)), []);
    }

    fn by_code(code: &str) -> AuthStatus {
        let page = url::Url::parse("https://as/device").expect("a URL");
        let mut status = pending("https://as/", Shown::Opening);
        let url = SignInUrl::by_code(&page, None, code);
        status.sign_in.as_mut().expect("it waits").url = url;
        status
    }

    #[test]
    fn each_code_is_told_once_and_no_browser_is_missed() {
        let mut told = Told::default();
        let mut tell = |code: &str, shown: Shown| -> Vec<(SignInState, String)> {
            let mut status = by_code(code);
            status.sign_in.as_mut().expect("it waits").shown = shown;
            let frames = told.frames(&status, "https://h/mcp").into_iter();
            frames.map(|frame| (frame.state(), frame.text)).collect()
        };
        let one = vec![(SignInState::Pending, "Enter the code A there.".to_owned())];
        assert_eq!(tell("A", Shown::Opening), one);
        assert_eq!(tell("A", Shown::NotOpened), []);
        assert_eq!(tell("B", Shown::NotOpened).len(), 1, "another code");
        let opened = (SignInState::BrowserOpened, String::new());
        assert_eq!(tell("B", Shown::Opened), [opened]);
    }

    #[test]
    fn who_visits_a_page_hears_that_a_code_would_do() {
        let server = crate::server_url::ServerUrl::parse("https://h/mcp", false);
        let identity = Identity::new(
            server.expect("valid"),
            crate::http::NetworkOptions::default(),
        );
        let mut told = Told::default();
        let mut status = pending("https://as/1", Shown::NotOpened);
        assert_eq!(told.about(&identity, &status).len(), 2);
        let sign_in = status.sign_in.as_mut().expect("it waits");
        sign_in.url = SignInUrl::new(url::Url::parse("https://as/2").expect("a URL"));
        sign_in.offers_codes = true;
        let frames = told.about(&identity, &status);
        let Some(Frame::Notice(notice)) = frames.last() else {
            panic!("a notice follows: {frames:?}");
        };
        assert!(
            notice
                .text
                .ends_with("mcp-remote login --device https://h/mcp"),
            "{}",
            notice.text
        );
    }

    #[test]
    fn a_client_registered_by_hand_hears_what_it_has_to_be_registered_with() {
        let server = crate::server_url::ServerUrl::parse("http://127.0.0.1:39222/mcp", false);
        let network = crate::http::NetworkOptions::default();
        let mut identity = Identity::new(server.expect("valid"), network);
        let mut tell = |redirect_uris: &[&str]| -> Vec<Frame> {
            identity.client = ClientChoice::PreRegistered {
                client_id: "c".into(),
                client_secret: None,
                auth_method: None,
                redirect_uris: redirect_uris.iter().map(|&uri| uri.into()).collect(),
                issuer: None,
            };
            let pending = pending("https://as/1", Shown::Opening);
            Told::default().about(&identity, &pending)
        };
        let [Frame::SignIn(_), Frame::Notice(notice)] = &tell(&[])[..] else {
            panic!("a notice follows");
        };
        let text = &notice.text;
        assert!(text.contains(":5598/oauth/callback"), "{text}");
        assert!(text.contains("13901"), "{text}");
        assert_eq!(tell(&["http://localhost:13901/oauth/callback"]).len(), 1);
    }
}
