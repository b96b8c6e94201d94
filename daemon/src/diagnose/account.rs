//! Tokens that nobody signs in for: the place where they are asked for, if the user names
//! it, and whether there is one.

use tokio::sync::mpsc;
use url::Url;

use super::sign_in::PATIENCE;
use super::{Asked, Check, Finding, Ready, Report, Tools, Verdict, Way, network};
use crate::oauth::text::printable;
use crate::oauth::token_source::{TokenError, TokenSource, Wanting};
use crate::server_url::ServerUrl;
use crate::session::ServerSpec;

/// Findings on the way to a place that wait to be heard.
const MAILBOX: usize = 8;

/// Says why it does not matter what the server's metadata say.
pub(super) fn nothing_to_look_for(way: &Way) -> Option<&'static str> {
    let grant_type = &way.identity.grant_type;
    if grant_type.is_given() {
        return Some("the token is given, so nobody signs in");
    }
    let why = "not used: the token endpoint is given (--token-endpoint)";
    grant_type.token_endpoint().map(|_| why)
}

/// Looks whether the token endpoint that the user names can be reached.
async fn endpoint(way: &Way, endpoint: &Url, tools: &Tools, report: &Report) {
    // It was checked when it was given.
    let Ok(url) = ServerUrl::parse(endpoint.as_str(), true) else {
        return;
    };
    let shown = printable(url.shown());
    let mut network = way.spec.network.clone();
    network.proxy = way.identity.proxies.proxy_for(endpoint);
    let there = Way {
        spec: ServerSpec {
            url,
            network,
            ..way.spec.clone()
        },
        name: None,
        identity: way.identity.clone(),
        proxy_source: way.proxy_source,
        warnings: Vec::new(),
    };
    let (heard, mut findings) = mpsc::channel(MAILBOX);
    let walking = async {
        let report = Report(heard);
        network::walk(&there, tools, &report).await
    };
    let collecting = async {
        let mut all = Vec::new();
        while let Some(finding) = findings.recv().await {
            all.push(finding);
        }
        all
    };
    let (_reached, all) = tokio::join!(walking, collecting);
    let through_proxy = there.spec.network.proxy.is_some();
    report.say(one_of(&shown, all, through_proxy)).await;
}

/// Says in one finding what those on the way to `shown` come to.
fn one_of(shown: &str, all: Vec<Finding>, through_proxy: bool) -> Finding {
    let took = all.iter().map(|finding| finding.took).sum();
    let is = |verdict: Verdict| move |finding: &&Finding| finding.verdict == verdict;
    let wrong = all.iter().find(is(Verdict::Failed));
    if let Some(wrong) = wrong.or_else(|| all.iter().find(is(Verdict::Warning))) {
        let found = format!("{shown}: {}", wrong.found);
        return Finding::new(Check::Endpoint, wrong.verdict, found)
            .advise(&*wrong.advice)
            .after(took);
    }
    let is_told = |finding: &&Finding| match finding.check {
        Check::Proxy => through_proxy,
        Check::Tcp | Check::Tls => true,
        _ => false,
    };
    let told = all.iter().filter(is(Verdict::Ok)).filter(is_told);
    let told: Vec<&str> = told.map(|finding| finding.found.as_str()).collect();
    let found = format!("{shown} can be reached: {}", told.join("; "));
    Finding::ok(Check::Endpoint, found).after(took)
}

/// Gets a token as a session does, where it is asked for.
pub(super) async fn look(way: &Way, tools: &Tools, asked: &Asked, report: &Report) -> Ready {
    if let Some(place) = way.identity.grant_type.token_endpoint() {
        endpoint(way, place, tools, report).await;
    }
    let source = tools.authority.source(way.identity.clone());
    let account = way.identity.account().unwrap_or_default();
    let obtained = obtain(&source, asked).await;
    let has_none = obtained.is_ok() && source.current().is_none();
    if has_none && way.identity.identity_provider().is_some() {
        let found = format!("nobody is signed in at the {account}");
        let finding = Finding::failed(Check::Tokens, found)
            .advise(format!("run {}", way.identity.login_command()))
            .needs_login();
        report.say(finding).await;
        return Ready::Missing;
    }
    if has_none {
        let found = format!(
            "there is none from the {account} yet: the server has to say first who gives it"
        );
        report.say(Finding::ok(Check::Tokens, found)).await;
        return Ready::Missing;
    }
    let (finding, ready) = match obtained {
        Ok(()) => {
            let found = format!("the token comes from the {account}");
            (Finding::ok(Check::Tokens, found), Ready::There(source))
        }
        Err(error) => {
            let sentence = format!("the {account}: {error}");
            let (found, advice) = match error {
                TokenError::Transient(_) => (&*sentence, "see that it runs, then try again"),
                _ => found_and_advice(&sentence),
            };
            let finding = Finding::failed(Check::Tokens, found).advise(advice);
            (finding, Ready::Needed)
        }
    };
    report.say(finding).await;
    ready
}

/// Takes a sentence apart: most say at their end what to do.
fn found_and_advice(sentence: &str) -> (&str, &str) {
    let begins = ["run ", "run: ", "put ", "name ", "ask "].map(|verb| format!(": {verb}"));
    let at = begins.iter().filter_map(|begin| sentence.find(begin)).min();
    match at.map(|at| sentence.split_at(at)) {
        Some((found, advice)) => (found, advice.trim_start_matches(": ")),
        None => (
            sentence,
            "check what is said of it in the command or in config.toml",
        ),
    }
}

/// Obtains a token, with what the server has said if it has refused.
async fn obtain(source: &TokenSource, asked: &Asked) -> Result<(), TokenError> {
    source.prepare().await?;
    let Asked::Refused(challenge) = asked else {
        return Ok(());
    };
    if source.current().is_some() {
        return Ok(());
    }
    let wanting = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let obtaining = source.renew(None, Some((**challenge).clone()), wanting);
    match tokio::time::timeout(PATIENCE, obtaining).await {
        Ok(Ok(_) | Err(TokenError::LoginRequired { .. })) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(TokenError::Transient(format!(
            "there is no token after {} s",
            PATIENCE.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_is_told_from_what_was_found() {
        for (sentence, found, advice) in [
            (
                "the x: k is open to other users (mode 644): run: chmod 600 k",
                "the x: k is open to other users (mode 644)",
                "run: chmod 600 k",
            ),
            (
                "the x: nobody is named: name the place with --token-endpoint",
                "the x: nobody is named",
                "name the place with --token-endpoint",
            ),
            (
                "the x: client authentication failed",
                "the x: client authentication failed",
                "check what is said of it in the command or in config.toml",
            ),
        ] {
            assert_eq!(found_and_advice(sentence), (found, advice));
        }
    }
}
