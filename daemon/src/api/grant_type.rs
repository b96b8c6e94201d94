//! What the user says of tokens that need nobody, checked: the opening frame's `auth`
//! becomes a [`GrantType`]. No sentence repeats a value, which may be a secret.

use std::path::PathBuf;

use mcp_remote_proto::v1;
use url::Url;

use super::federation;
use crate::oauth::federation::{Enterprise, Workload};
use crate::oauth::grant_type::{Audience, ClientKey, GrantType, ServiceAccount};
use crate::oauth::identity::ClientChoice;
use crate::oauth::jose::KeyFile;
use crate::server_url::ServerUrl;

/// Checks what an opening frame says of how tokens are come by. `client`: what it says
/// of the client.
///
/// # Errors
/// A sentence about the flag that is wrong.
pub(super) fn grant_type(
    auth: &v1::AuthOptions,
    client: &ClientChoice,
    authorizes: bool,
) -> Result<GrantType, String> {
    let given = [
        ("--client-credentials", auth.client_credentials),
        ("--bearer-token-file", !auth.bearer_token_file.is_empty()),
        (
            "--workload-token-file",
            !auth.workload_token_file.is_empty(),
        ),
        ("--identity-provider", !auth.identity_provider.is_empty()),
        ("the header Authorization", authorizes),
    ];
    let given: Vec<_> = given.iter().filter(|(_, given)| *given).collect();
    if let [(one, _), (other, _), ..] = given[..] {
        return Err(format!(
            "{one} and {other} cannot both be given: each says whose token is sent"
        ));
    }
    if let Some(file) = federation::workload(auth)? {
        let account = account(auth)?;
        if account.key.is_some() && *client == ClientChoice::Dynamic {
            return Err(
                "--client-key needs --static-oauth-client-info, the client whose key it is".into(),
            );
        }
        return Ok(GrantType::Workload(Workload { file, account }));
    }
    if let Some(provider) = federation::identity_provider(auth)? {
        if !auth.token_endpoint.is_empty() {
            return Err("--token-endpoint cannot be used with --identity-provider, which vouches for the issuer that the server names".into());
        }
        if *client == ClientChoice::Dynamic {
            return Err("--identity-provider needs the client that the authorization server of the MCP server knows: --static-oauth-client-info, or --client-metadata-url".into());
        }
        let account = account(auth)?;
        let enterprise = Enterprise { provider, account };
        return Ok(GrantType::EnterpriseManaged(Box::new(enterprise)));
    }
    if auth.client_credentials {
        let account = account(auth)?;
        shows_who_it_is(&account, client)?;
        return Ok(GrantType::ClientCredentials(account));
    }
    if !auth.bearer_token_file.is_empty() {
        let path = absolute("--bearer-token-file", &auth.bearer_token_file)?;
        return Ok(GrantType::TokenFile(path.into()));
    }
    Ok(GrantType::default())
}

/// Names what is said of a service account where there is none, one sentence each: it
/// is ignored, as with the npm package.
pub(super) fn superfluous(auth: &v1::AuthOptions) -> Vec<String> {
    let of_account = [
        ("--token-endpoint", &auth.token_endpoint),
        ("--client-key", &auth.client_key),
        ("--client-key-id", &auth.client_key_id),
        (
            "--client-assertion-audience",
            &auth.client_assertion_audience,
        ),
    ];
    let given = of_account.iter().filter(|(_, value)| !value.is_empty());
    let has_account = auth.client_credentials
        || !auth.workload_token_file.is_empty()
        || !auth.identity_provider.is_empty();
    let ignored = given.filter(|_| !has_account);
    let sentence =
        |(flag, _): &(_, _)| format!("{flag} is of no use without --client-credentials, ignored");
    ignored.map(sentence).collect()
}

/// A service account is a client with a secret or a key.
fn shows_who_it_is(account: &ServiceAccount, client: &ClientChoice) -> Result<(), String> {
    match client {
        ClientChoice::PreRegistered {
            client_secret: None,
            ..
        } if account.key.is_none() => Err("--client-credentials needs a client_secret in --static-oauth-client-info, or --client-key".into()),
        ClientChoice::PreRegistered { .. } => Ok(()),
        ClientChoice::Dynamic | ClientChoice::MetadataUrl(_) => Err("--client-credentials needs --static-oauth-client-info: the service account is a client that was registered by hand".into()),
    }
}

fn account(auth: &v1::AuthOptions) -> Result<ServiceAccount, String> {
    let token_endpoint = match auth.token_endpoint.as_str() {
        "" => None,
        endpoint => Some(self::endpoint(endpoint)?),
    };
    let key = match auth.client_key.as_str() {
        "" if !auth.client_key_id.is_empty() || !auth.client_assertion_audience.is_empty() => {
            return Err("--client-key-id and --client-assertion-audience are of no use without --client-key".into());
        }
        "" => None,
        // It would be good there too, wherever the server has it sent.
        _ if is_elsewhere(&auth.client_assertion_audience) && token_endpoint.is_none() => {
            return Err("the URL of --client-assertion-audience needs --token-endpoint, since what is signed for it must reach nobody else".into());
        }
        path => Some(ClientKey {
            file: KeyFile::new(absolute("--client-key", path)?),
            id: Some(auth.client_key_id.clone()).filter(|id| !id.is_empty()),
            audience: match auth.client_assertion_audience.as_str() {
                "" | "issuer" => Audience::Issuer,
                "token-endpoint" => Audience::TokenEndpoint,
                given => Audience::Given(given.to_owned()),
            },
        }),
    };
    Ok(ServiceAccount {
        token_endpoint,
        key,
    })
}

/// Says whether an audience is not whoever is asked.
fn is_elsewhere(audience: &str) -> bool {
    !matches!(audience, "" | "issuer" | "token-endpoint")
}

/// Tokens are asked for over https, or on this machine.
fn endpoint(text: &str) -> Result<Url, String> {
    let plain = |url: &Url| {
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        is_anonymous && url.fragment().is_none()
    };
    let usable = ServerUrl::parse(text, false).is_ok();
    let url = Url::parse(text).ok().filter(|url| usable && plain(url));
    url.ok_or_else(|| {
        "the value of --token-endpoint is not an https URL without credentials and fragment".into()
    })
}

fn absolute(flag: &str, text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("the path of {flag} is not absolute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn client(secret: Option<&str>) -> ClientChoice {
        ClientChoice::PreRegistered {
            client_id: "bot".into(),
            client_secret: secret.map(|secret| Secret::new(secret.to_owned())),
            auth_method: None,
            redirect_uris: Vec::new(),
            issuer: None,
        }
    }

    fn credentials() -> v1::AuthOptions {
        v1::AuthOptions {
            client_credentials: true,
            ..v1::AuthOptions::default()
        }
    }

    #[test]
    fn nothing_said_is_a_sign_in() {
        let auth = v1::AuthOptions::default();
        for authorizes in [false, true] {
            let made = grant_type(&auth, &ClientChoice::Dynamic, authorizes);
            assert_eq!(made, Ok(GrantType::AuthorizationCode));
        }
    }

    #[test]
    fn accounts_and_files_are_taken() {
        let auth = v1::AuthOptions {
            token_endpoint: "http://127.0.0.1:1/token?tenant=1".into(),
            client_key: "/key.pem".into(),
            client_key_id: "k1".into(),
            client_assertion_audience: "token-endpoint".into(),
            ..credentials()
        };
        let made = grant_type(&auth, &client(None), false);
        let Ok(GrantType::ClientCredentials(account)) = made else {
            panic!("{made:?}");
        };
        let endpoint = account.token_endpoint.expect("given");
        assert_eq!(endpoint.as_str(), "http://127.0.0.1:1/token?tenant=1");
        let key = account.key.expect("given");
        assert_eq!(key.file, KeyFile::new("/key.pem".into()));
        assert_eq!(key.id.as_deref(), Some("k1"));
        assert_eq!(key.audience, Audience::TokenEndpoint);
        let auth = v1::AuthOptions {
            bearer_token_file: "/run/token".into(),
            ..v1::AuthOptions::default()
        };
        let made = grant_type(&auth, &ClientChoice::Dynamic, false);
        let path = std::path::Path::new("/run/token");
        assert_eq!(made, Ok(GrantType::TokenFile(path.into())));
    }

    #[test]
    fn whoever_vouches_is_taken() {
        let auth = v1::AuthOptions {
            workload_token_file: "/run/token".into(),
            token_endpoint: "https://as.example/token".into(),
            ..v1::AuthOptions::default()
        };
        let made = grant_type(&auth, &ClientChoice::Dynamic, false);
        let Ok(GrantType::Workload(workload)) = made else {
            panic!("{made:?}");
        };
        assert_eq!(&*workload.file, std::path::Path::new("/run/token"));
        assert!(workload.account.token_endpoint.is_some());
        let with_key = v1::AuthOptions {
            client_key: "/key.pem".into(),
            ..auth
        };
        let made = grant_type(&with_key, &ClientChoice::Dynamic, false);
        assert!(made.is_err_and(|why| why.contains("--client-key needs")));
        let auth = v1::AuthOptions {
            identity_provider: "https://idp.example".into(),
            identity_provider_client: r#"{"client_id":"a","client_secret":"s3cret"}"#.into(),
            ..v1::AuthOptions::default()
        };
        let made = grant_type(&auth, &client(Some("s")), false);
        assert!(matches!(made, Ok(GrantType::EnterpriseManaged(_))));
        let made = grant_type(&auth, &ClientChoice::Dynamic, false);
        assert!(made.is_err_and(|why| why.contains("--static-oauth-client-info")));
        for more in [
            v1::AuthOptions {
                token_endpoint: "https://as.example/token".into(),
                ..auth.clone()
            },
            v1::AuthOptions {
                workload_token_file: "/run/token".into(),
                ..auth.clone()
            },
            v1::AuthOptions {
                client_credentials: true,
                ..auth
            },
        ] {
            let why = grant_type(&more, &client(Some("s")), false).expect_err("too much");
            assert!(why.contains("--identity-provider"), "{why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_by_its_flag_and_not_repeated() {
        type Set = fn(&mut v1::AuthOptions);
        let cases: [(&str, Option<&str>, bool, Set); 9] = [
            ("Authorization", Some("s"), true, |_| ()),
            ("--bearer-token-file", Some("s"), false, |a| {
                a.bearer_token_file = "/s3cret".into();
            }),
            ("client_secret", None, false, |_| ()),
            ("--token-endpoint", Some("s"), false, |a| {
                a.token_endpoint = "http://as.example/s3cret".into();
            }),
            ("--token-endpoint", Some("s"), false, |a| {
                a.token_endpoint = "https://u:s3cret@as.example/".into();
            }),
            ("--token-endpoint", Some("s"), false, |a| {
                a.token_endpoint = "s3cret".into();
            }),
            ("--client-key", Some("s"), false, |a| {
                a.client_key = "s3cret".into();
            }),
            ("--client-key", Some("s"), false, |a| {
                a.client_key_id = "s3cret".into();
            }),
            ("--bearer-token-file", None, false, |a| {
                a.client_credentials = false;
                a.bearer_token_file = "s3cret".into();
            }),
        ];
        for (at, (named, secret, authorizes, set)) in cases.into_iter().enumerate() {
            let mut auth = credentials();
            set(&mut auth);
            let sentence = grant_type(&auth, &client(secret), authorizes);
            let sentence = sentence.expect_err(&format!("case {at}"));
            assert!(sentence.contains(named), "{at}: {sentence}");
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
        let mut auth = credentials();
        auth.token_endpoint = "https://as.example/s3cret".into();
        auth.client_key = "/s3cret".into();
        assert_eq!(superfluous(&auth), [""; 0]);
        auth.client_credentials = false;
        let ignored = superfluous(&auth);
        assert_eq!(ignored.len(), 2, "{ignored:?}");
        assert!(ignored.iter().all(|said| !said.contains("s3cret")));
        let made = grant_type(&credentials(), &ClientChoice::Dynamic, false);
        assert!(made.is_err_and(|why| why.contains("--static-oauth-client-info")));
    }
}
