//! What the user says of who vouches for them, checked: workload tokens and identity
//! providers. No sentence repeats a value, which may be a secret.

use std::path::Path;
use std::sync::Arc;

use mcp_remote_proto::v1;

use super::identity::{client, is_plain};
use crate::oauth::discovery::is_same_issuer;
use crate::oauth::federation::{IdentityProvider, Subject, SubjectKind};
use crate::oauth::grant_type::{Audience, ClientKey};
use crate::oauth::identity::ClientChoice;
use crate::oauth::jose::KeyFile;
use crate::server_url::ServerUrl;

/// The flag of the client that is registered at an identity provider.
const CLIENT: &str = "--identity-provider-client";

/// Returns the file of the workload token that is shown; `None`: none is.
///
/// # Errors
/// A sentence about the flag that is wrong.
pub(super) fn workload(auth: &v1::AuthOptions) -> Result<Option<Arc<Path>>, String> {
    let file = absolute("--workload-token-file", &auth.workload_token_file)?;
    Ok(file.map(Arc::from))
}

/// Returns the identity provider that vouches for the user; `None`: none does.
///
/// # Errors
/// A sentence about the flag that is wrong.
pub(super) fn identity_provider(
    auth: &v1::AuthOptions,
) -> Result<Option<IdentityProvider>, String> {
    if auth.identity_provider.is_empty() {
        return match alone(auth) {
            Some(flag) => Err(format!("{flag} needs --identity-provider")),
            None => Ok(None),
        };
    }
    let issuer = issuer(&auth.identity_provider)?;
    if auth.identity_provider_client.is_empty() {
        return Err(format!(
            "--identity-provider needs {CLIENT}, the client that is registered there"
        ));
    }
    let ClientChoice::PreRegistered {
        client_id,
        client_secret,
        auth_method,
        redirect_uris,
        ..
    } = client_of(&issuer, CLIENT, &auth.identity_provider_client)?
    else {
        return Err(format!("the value of {CLIENT} has no client_id"));
    };
    let key = absolute("--identity-provider-key", &auth.identity_provider_key)?;
    shows_who_it_is(
        auth_method.as_deref(),
        client_secret.is_some(),
        key.is_some(),
    )?;
    let kind = SubjectKind::parse(&auth.subject_token_type)
        .ok_or("the value of --subject-token-type is neither id-token nor refresh-token")?;
    let subject = match absolute("--subject-token-file", &auth.subject_token_file)? {
        Some(file) => Subject::File(file.into(), kind),
        None if !auth.subject_token_type.is_empty() => {
            return Err("--subject-token-type needs --subject-token-file".into());
        }
        None => Subject::SignIn,
    };
    Ok(Some(IdentityProvider {
        issuer,
        client_id,
        client_secret,
        auth_method,
        key: key.map(|path| ClientKey {
            file: KeyFile::new(path.to_owned()),
            id: None,
            audience: Audience::Issuer,
        }),
        redirect_uris,
        subject,
    }))
}

/// Reads the client (`flag`) that this issuer knows.
fn client_of(issuer: &ServerUrl, flag: &str, info: &str) -> Result<ClientChoice, String> {
    let client = client(flag, info, "")?;
    let is_other = |known_at: &String| !is_same_issuer(known_at, issuer.url().as_str());
    match &client {
        ClientChoice::PreRegistered {
            issuer: Some(known_at),
            ..
        } if is_other(known_at) => Err(format!(
            "the issuer in the value of {flag} is not that of --identity-provider"
        )),
        _ => Ok(client),
    }
}

/// A client shows who it is by a key, by a secret, or by its id alone, as is said of it.
fn shows_who_it_is(method: Option<&str>, secret: bool, key: bool) -> Result<(), String> {
    match method {
        None | Some("none" | "private_key_jwt") if key => Ok(()),
        Some("private_key_jwt") => Err(format!(
            "the client of {CLIENT} shows who it is by private_key_jwt, which needs --identity-provider-key"
        )),
        Some("client_secret_basic" | "client_secret_post") if !secret && !key => Err(format!(
            "the client of {CLIENT} shows who it is by a secret, but there is no client_secret in it"
        )),
        None | Some("none" | "client_secret_basic" | "client_secret_post") => Ok(()),
        Some(_) => Err(format!(
            "the token_endpoint_auth_method of {CLIENT} is not known: use none, client_secret_basic, client_secret_post or private_key_jwt"
        )),
    }
}

/// Returns a flag that means nothing without an identity provider.
fn alone(auth: &v1::AuthOptions) -> Option<&'static str> {
    let flags = [
        ("--identity-provider-client", &auth.identity_provider_client),
        ("--identity-provider-key", &auth.identity_provider_key),
        ("--subject-token-file", &auth.subject_token_file),
        ("--subject-token-type", &auth.subject_token_type),
    ];
    let mut given = flags.iter().filter(|(_, value)| !value.is_empty());
    given.next().map(|(flag, _)| *flag)
}

/// An issuer is an https URL without query and fragment (RFC 8414, section 2).
fn issuer(text: &str) -> Result<ServerUrl, String> {
    let usable = |url: &ServerUrl| {
        let url = url.url();
        is_plain(url) && url.query().is_none()
    };
    let plain = !text.contains('#');
    let url = ServerUrl::parse(text, false).ok().filter(usable);
    let url = url.filter(|_| plain);
    url.ok_or_else(|| {
        "the value of --identity-provider is not an https URL without query and fragment".into()
    })
}

fn absolute<'a>(flag: &str, path: &'a str) -> Result<Option<&'a Path>, String> {
    match Path::new(path) {
        _ if path.is_empty() => Ok(None),
        path if path.is_absolute() => Ok(Some(path)),
        _ => Err(format!("the path of {flag} is not absolute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> v1::AuthOptions {
        v1::AuthOptions {
            identity_provider: "https://idp.example/tenant".into(),
            identity_provider_client: r#"{"client_id":"app","client_secret":"s3cret"}"#.into(),
            ..v1::AuthOptions::default()
        }
    }

    #[test]
    fn nothing_given_means_nobody_vouches() {
        assert_eq!(workload(&v1::AuthOptions::default()), Ok(None));
        assert_eq!(identity_provider(&v1::AuthOptions::default()), Ok(None));
    }

    #[test]
    fn an_identity_provider_knows_its_client_and_the_user() {
        let provider = identity_provider(&given()).expect("usable").expect("given");
        assert_eq!(provider.name(), "https://idp.example/tenant");
        assert_eq!(provider.client_id, "app");
        assert_eq!(provider.subject, Subject::SignIn);
        assert!(!format!("{provider:?}").contains("s3cret"));
        let auth = v1::AuthOptions {
            identity_provider_client: r#"{"client_id":"app"}"#.into(),
            identity_provider_key: "/k.pem".into(),
            subject_token_file: "/t".into(),
            subject_token_type: "refresh-token".into(),
            ..given()
        };
        let provider = identity_provider(&auth).expect("usable").expect("given");
        let file = Path::new("/t").into();
        assert_eq!(
            provider.subject,
            Subject::File(file, SubjectKind::RefreshToken)
        );
        assert_eq!(
            provider.key.map(|key| key.file),
            Some(KeyFile::new("/k.pem".into()))
        );
    }

    #[test]
    fn a_client_may_sign_people_in_by_a_key_a_secret_or_its_id_alone() {
        for (client, key) in [
            (r#"{"client_id":"app"}"#, ""),
            (
                r#"{"client_id":"app","token_endpoint_auth_method":"none"}"#,
                "",
            ),
            (r#"{"client_id":"app"}"#, "/k.pem"),
            (
                r#"{"client_id":"app","token_endpoint_auth_method":"private_key_jwt"}"#,
                "/k.pem",
            ),
            (
                r#"{"client_id":"app","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}"#,
                "",
            ),
        ] {
            let auth = v1::AuthOptions {
                identity_provider_client: client.into(),
                identity_provider_key: key.into(),
                ..given()
            };
            let provider = identity_provider(&auth).expect("usable").expect("given");
            assert_eq!(provider.subject, Subject::SignIn);
            assert_eq!(provider.key.is_some(), !key.is_empty());
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_is_wrong_is_refused_by_its_flag_and_not_repeated() {
        type Set = fn(&mut v1::AuthOptions);
        let cases: [(&str, Set); 13] = [
            ("--identity-provider ", |a| {
                a.identity_provider = "http://s3cret.example/".into();
            }),
            ("--identity-provider ", |a| {
                a.identity_provider = "https://u:s3cret@h/".into();
            }),
            ("--identity-provider ", |a| {
                a.identity_provider = "https://h/?s3cret".into();
            }),
            ("--identity-provider-client", |a| {
                a.identity_provider_client = String::new();
            }),
            ("--identity-provider-client", |a| {
                a.identity_provider_client = "{s3cret".into();
            }),
            ("--identity-provider-client", |a| {
                a.identity_provider_client = r#"{"client_secret":"s3cret"}"#.into();
            }),
            ("--identity-provider-client", |a| {
                let info = r#"{"client_id":"app","client_secret":"s","issuer":"https://s3cret/"}"#;
                a.identity_provider_client = info.into();
            }),
            ("--identity-provider-key", |a| {
                a.identity_provider_client =
                    r#"{"client_id":"app","token_endpoint_auth_method":"private_key_jwt"}"#.into();
            }),
            ("--identity-provider-client", |a| {
                a.identity_provider_client =
                    r#"{"client_id":"app","token_endpoint_auth_method":"client_secret_post"}"#
                        .into();
            }),
            ("--identity-provider-client", |a| {
                a.identity_provider_client =
                    r#"{"client_id":"app","client_secret":"s3cret","token_endpoint_auth_method":"s3cret"}"#
                        .into();
            }),
            ("--subject-token-type", |a| {
                a.subject_token_type = "s3cret".into();
            }),
            ("--subject-token-file", |a| {
                a.subject_token_type = "id-token".into();
            }),
            ("--subject-token-file", |a| {
                a.subject_token_file = "s3cret/token".into();
            }),
        ];
        for (flag, set) in cases {
            let mut auth = given();
            set(&mut auth);
            let sentence = identity_provider(&auth).expect_err(flag);
            assert!(format!("{sentence} ").contains(flag), "{sentence}");
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
        let auth = v1::AuthOptions {
            subject_token_file: "/t".into(),
            ..v1::AuthOptions::default()
        };
        let sentence = identity_provider(&auth).expect_err("alone");
        assert_eq!(sentence, "--subject-token-file needs --identity-provider");
    }
}
