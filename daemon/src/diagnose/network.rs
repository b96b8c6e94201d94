//! From here to the server's port: which proxy, which addresses, which certificate.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use url::{Host, Url};

use super::{Check, Finding, ProxySource, Report, Tools, Way, in_milliseconds, span};
use crate::http::certificate::Certificate;
use crate::http::trial::{self, Connected, Shaken, TlsRefusal};
use crate::http::{HttpError, ProxySettings};
use crate::oauth::address::AddressClass;
use crate::server_url;

/// A certificate that ends this soon is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Walks to the port; false: it cannot be reached.
pub(super) async fn walk(way: &Way, tools: &Tools, report: &Report) -> bool {
    let proxy = way.spec.network.proxy.as_ref();
    let proxy = proxy.map(|proxy| Url::parse(proxy.reveal()));
    report.say(proxy_line(way)).await;
    let setup = tools.clients.client(&way.spec.network).await;
    if let Err(HttpError::Setup(why)) = setup {
        let finding = Finding::failed(Check::Tls, why).advise("correct that setting");
        report
            .skip(&[Check::Dns, Check::Tcp], "nothing can be asked")
            .await;
        report.say(finding).await;
        return false;
    }
    let proxy = proxy.and_then(Result::ok);
    let target = proxy.as_ref().unwrap_or(way.spec.url.url());
    let Some(addresses) = addresses(target, proxy.is_some(), tools, report).await else {
        report
            .skip(&[Check::Tcp, Check::Tls], "there is no address")
            .await;
        return false;
    };
    let Some(address) = connection(target, &addresses, way, report).await else {
        report.skip(&[Check::Tls], "there is no connection").await;
        return false;
    };
    secure(way, address, proxy.as_ref(), report).await
}

/// Says which proxy is used, and why.
fn proxy_line(way: &Way) -> Finding {
    let settings = &way.identity.proxies;
    let source = match way.proxy_source {
        ProxySource::Command => "this command's environment",
        ProxySource::Daemon => "the daemon's environment",
        ProxySource::File => "config.toml",
    };
    let url = way.spec.url.url();
    let variable = match url.scheme() {
        "https" if !settings.https.is_empty() => "HTTPS_PROXY",
        "http" if !settings.http.is_empty() => "HTTP_PROXY",
        _ => "ALL_PROXY",
    };
    let by = match way.proxy_source {
        ProxySource::File => format!("says {source}"),
        _ => format!("says {variable} in {source}"),
    };
    if let Some(proxy) = &way.spec.network.proxy {
        let proxy = Url::parse(proxy.reveal());
        let shown = proxy.map_or_else(|_| "a proxy".into(), |proxy| server_url::shown(&proxy));
        return Finding::ok(Check::Proxy, format!("it is reached through {shown}, {by}"));
    }
    let without_exceptions = ProxySettings {
        no: String::new(),
        ..settings.clone()
    };
    let found = match without_exceptions.proxy_for(url) {
        Some(_) => format!("none is used: NO_PROXY in {source} covers this server"),
        None if settings.no == "*" => format!("none is used, says {source}"),
        None => "none is used, since none is set for it".to_owned(),
    };
    Finding::ok(Check::Proxy, found)
}

/// Looks the name up.
async fn addresses(
    target: &Url,
    is_proxy: bool,
    tools: &Tools,
    report: &Report,
) -> Option<Vec<IpAddr>> {
    let whose = if is_proxy { "the proxy " } else { "" };
    let name = match target.host()? {
        Host::Ipv4(address) => {
            let why = format!("{whose}{address} is an address, not a name");
            report.skip(&[Check::Dns], &why).await;
            return Some(vec![address.into()]);
        }
        Host::Ipv6(address) => {
            let why = format!("{whose}{address} is an address, not a name");
            report.skip(&[Check::Dns], &why).await;
            return Some(vec![address.into()]);
        }
        Host::Domain(name) => name,
    };
    let begun = Instant::now();
    let found = tools.clients.addresses(name).await;
    let took = begun.elapsed();
    let (finding, addresses) = match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown = addresses.iter().take(8).map(|address| {
                let class = AddressClass::of(*address).as_str();
                format!("{address} ({class})")
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            let found = format!("{whose}{name} is {shown}");
            (Finding::ok(Check::Dns, found), Some(addresses))
        }
        Ok(_) => (unresolved(whose, name, "it has no address"), None),
        Err(why) => (unresolved(whose, name, &why), None),
    };
    report.say(finding.after(took)).await;
    addresses
}

fn unresolved(whose: &str, name: &str, why: &str) -> Finding {
    let found = format!("{whose}{name} could not be resolved: {why}");
    let advice = match whose.is_empty() {
        true => {
            "check how the name is written, and whether this machine is in the network that knows it"
        }
        false => "check the proxy's name in that setting",
    };
    Finding::failed(Check::Dns, found).advise(advice)
}

/// Connects; returns an address that answers.
async fn connection(
    target: &Url,
    addresses: &[IpAddr],
    way: &Way,
    report: &Report,
) -> Option<SocketAddr> {
    let port = target.port_or_known_default().unwrap_or(443);
    let network = &way.spec.network;
    let all = trial::connect(addresses, port, network).await;
    let took = all.iter().map(|one| one.took).max().unwrap_or_default();
    let shown: Vec<String> = all.iter().map(connected).collect();
    let works = all.iter().find(|one| one.outcome.is_ok());
    let fails = |v6: bool| {
        let mut all = all.iter().filter(|one| one.address.is_ipv6() == v6);
        all.any(|one| one.outcome.is_err())
    };
    let found = shown.join("; ");
    let finding = match works {
        None if all.is_empty() => {
            let found = "it has only IPv6 addresses, and IPv4 is asked for";
            Finding::failed(Check::Tcp, found).advise("leave --ipv4 out")
        }
        None => Finding::failed(Check::Tcp, found).advise(match network.proxy {
            Some(_) => "check that the proxy runs and that its port is right",
            None => "check that the server runs, that the port is right, and that no firewall is between",
        }),
        Some(works) if works.address.is_ipv4() && fails(true) => {
            let advice = "IPv6 does not get through: --ipv4 leaves it out";
            Finding::warning(Check::Tcp, found).advise(advice)
        }
        Some(_) if fails(true) || fails(false) => {
            let advice = "not all of its addresses answer: ask whoever runs it";
            Finding::warning(Check::Tcp, found).advise(advice)
        }
        Some(_) => Finding::ok(Check::Tcp, found),
    };
    report.say(finding.after(took)).await;
    works.map(|works| works.address)
}

fn connected(one: &Connected) -> String {
    let Connected {
        address,
        outcome,
        took,
    } = one;
    match outcome {
        Ok(()) => format!("{address} in {}", in_milliseconds(*took)),
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::TimedOut => format!("no connection within {}", span(*took)),
                _ => error.to_string(),
            };
            format!("{address}: {why}")
        }
    }
}

/// Looks at the certificate; false: nothing can be said to this server.
async fn secure(way: &Way, address: SocketAddr, proxy: Option<&Url>, report: &Report) -> bool {
    let url = way.spec.url.url();
    if url.scheme() == "http" {
        let finding = match server_url::is_loopback(url) {
            true => Finding::skipped(Check::Tls, "the URL is http, on this machine"),
            false => Finding::warning(Check::Tls, "the URL is http: nothing is encrypted")
                .advise("use https if the server has it"),
        };
        report.say(finding).await;
        return true;
    }
    if let Some(proxy) = proxy.filter(|proxy| proxy.scheme() != "http") {
        let why = format!(
            "looked at by the next step, through the {} proxy",
            proxy.scheme()
        );
        report.skip(&[Check::Tls], &why).await;
        return true;
    }
    let network = &way.spec.network;
    let shaken = trial::shake_hands(url, Some(address), proxy, network).await;
    let (finding, works) = match shaken {
        Ok(shaken) => {
            let works = shaken.outcome.is_ok();
            (judged(&shaken, SystemTime::now()).after(shaken.took), works)
        }
        Err(error) => {
            let finding = Finding::failed(Check::Tls, error.to_string());
            let advice = match proxy {
                Some(_) => "ask whoever runs the proxy whether it may lead to this server",
                None => "check the port: something else may be listening there",
            };
            (finding.advise(advice), false)
        }
    };
    report.say(finding).await;
    works
}

fn judged(shaken: &Shaken, now: SystemTime) -> Finding {
    let certificate = shaken.certificate.as_ref();
    let signer = certificate.map_or("an authority that it does not name", |it| &it.issuer);
    let left = certificate.and_then(|it| it.not_after.duration_since(now).ok());
    let refusal = match &shaken.outcome {
        Ok(version) => {
            let found = format!("{version}; {}", described(certificate, now));
            return match left {
                Some(left) if left < SOON => Finding::warning(Check::Tls, found)
                    .advise("tell whoever runs it that the certificate ends soon"),
                _ => Finding::ok(Check::Tls, found),
            };
        }
        Err(refusal) => refusal,
    };
    let (found, advice) = match refusal {
        TlsRefusal::UnknownIssuer => (
            format!("its certificate is signed by {signer}, which this system does not trust"),
            "if that is your organisation's authority, give its certificate with --ca-file PATH, NODE_EXTRA_CA_CERTS, or ca_file in config.toml",
        ),
        TlsRefusal::Expired => (
            format!(
                "its certificate does not count today: {}",
                described(certificate, now)
            ),
            "tell whoever runs it; if the date is right there, check the clock of this machine",
        ),
        TlsRefusal::OtherName => (
            format!(
                "its certificate is for another name; {}",
                described(certificate, now)
            ),
            "check the host in the URL: it has to be one that the certificate is for",
        ),
        TlsRefusal::Other(why) => (
            why.clone(),
            "check the port and whether the URL is https: something else may be listening there",
        ),
    };
    Finding::failed(Check::Tls, found).advise(advice)
}

fn described(certificate: Option<&Certificate>, now: SystemTime) -> String {
    let Some(Certificate { issuer, not_after }) = certificate else {
        return "its certificate cannot be read".to_owned();
    };
    match (
        not_after.duration_since(now),
        now.duration_since(*not_after),
    ) {
        (Ok(left), _) => format!("signed by {issuer}, ends in {}", span(left)),
        (_, Ok(ago)) => format!("signed by {issuer}, ended {} ago", span(ago)),
        _ => format!("signed by {issuer}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_who_signed_it() {
        let now = UNIX_EPOCH + 100 * SOON;
        let shaken = |outcome, not_after| Shaken {
            outcome,
            certificate: Some(Certificate {
                issuer: "Example Root".into(),
                not_after,
            }),
            took: Duration::ZERO,
        };
        let later = now + 2 * SOON;
        for (shaken, verdict, words) in [
            (shaken(Ok("TLS 1.3"), later), Verdict::Ok, "ends in 28 days"),
            (shaken(Ok("TLS 1.2"), now), Verdict::Warning, "ends in 0 s"),
            (
                shaken(Err(TlsRefusal::UnknownIssuer), later),
                Verdict::Failed,
                "signed by Example Root, which",
            ),
            (
                shaken(Err(TlsRefusal::Expired), now - SOON),
                Verdict::Failed,
                "ended 14 days ago",
            ),
            (
                shaken(Err(TlsRefusal::OtherName), later),
                Verdict::Failed,
                "for another name",
            ),
        ] {
            let finding = judged(&shaken, now);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
            assert_eq!(finding.advice.is_empty(), verdict == Verdict::Ok);
        }
    }
}
