//! The flags about signing in: the npm package's names and rules, and a few more.
//!
//! Pure. What is wrong is a warning and the usual value, as there; what only the
//! daemon can judge (URLs, JSON) goes to it as it was typed.

use std::time::Duration;

use super::federation::FederationArguments;
use mcp_remote_proto::v1::Dpop;

/// Flags about signing in that a value follows.
pub(super) const VALUED: &[&str] = &[
    "--auth-success-url",
    "--auth-timeout",
    "--authorize-param",
    "--bearer-token-file",
    "--callback-path",
    "--client-assertion-audience",
    "--client-key",
    "--client-key-id",
    "--client-metadata-url",
    "--dpop",
    "--host",
    "--identity-provider",
    "--identity-provider-client",
    "--identity-provider-key",
    "--resource",
    "--static-oauth-client-info",
    "--static-oauth-client-metadata",
    "--subject-token-file",
    "--subject-token-type",
    "--token-endpoint",
    "--workload-token-file",
];

/// Those of them that say whose token is sent, and where its secret goes: without a
/// value nothing is done.
const NEEDED: &[&str] = &[
    "--bearer-token-file",
    "--client-key",
    "--identity-provider",
    "--identity-provider-client",
    "--identity-provider-key",
    "--subject-token-file",
    "--subject-token-type",
    "--token-endpoint",
    "--workload-token-file",
];

/// Parameters that belong to the sign-in itself.
const RESERVED_PARAMETERS: &[&str] = &[
    "client_id",
    "redirect_uri",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
];

/// Paths that the npm package's listener serves otherwise.
const RESERVED_PATHS: &[&str] = &["/wait-for-auth", "/.mcp-remote/id"];

/// What the command line says of signing in; empty or `None`: nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthArguments {
    /// `--static-oauth-client-info`: JSON, or `@file`.
    pub(crate) client_info: Option<String>,
    /// `--static-oauth-client-metadata`: JSON, or `@file`.
    pub(crate) client_metadata: Option<String>,
    /// `--client-metadata-url`.
    pub(crate) client_metadata_url: Option<String>,
    /// `--resource`.
    pub(crate) resource: Option<String>,
    /// `--disable-resource-parameter`, or `--resource ''`.
    pub(crate) disable_resource: bool,
    /// `--authorize-param`, each one.
    pub(crate) authorize_params: Vec<(String, String)>,
    /// `[callback-port]`.
    pub(crate) callback_port: Option<u16>,
    /// `--host`.
    pub(crate) host: Option<String>,
    /// `--callback-path`.
    pub(crate) callback_path: Option<String>,
    /// `--auth-success-url`.
    pub(crate) success_url: Option<String>,
    /// `--auth-timeout`.
    pub(crate) timeout: Option<Duration>,
    /// `--use-id-token`.
    pub(crate) use_id_token: bool,
    /// `--allow-missing-pkce`.
    pub(crate) allow_missing_pkce: bool,
    /// `--dpop`.
    pub(crate) dpop: Dpop,
    /// `--no-browser`.
    pub(crate) no_browser: bool,
    /// `--client-credentials`.
    pub(crate) client_credentials: bool,
    /// `--token-endpoint`.
    pub(crate) token_endpoint: Option<String>,
    /// `--client-key`, as typed.
    pub(crate) client_key: Option<String>,
    /// `--client-key-id`.
    pub(crate) client_key_id: Option<String>,
    /// `--client-assertion-audience`.
    pub(crate) assertion_audience: Option<String>,
    /// `--bearer-token-file`, as typed.
    pub(crate) bearer_token_file: Option<String>,
    /// The first flag of [`NEEDED`] without a value.
    pub(crate) incomplete: Option<&'static str>,
    /// `--device-code`.
    pub(crate) device_code: bool,
    /// `--non-interactive`.
    pub(crate) non_interactive: bool,
    /// What another issuer vouches for.
    pub(crate) federation: FederationArguments,
}

impl AuthArguments {
    /// Takes a switch; false: it is not about signing in.
    pub(super) fn switch(&mut self, name: &str) -> bool {
        let switch = match name {
            "--disable-resource-parameter" => &mut self.disable_resource,
            "--use-id-token" => &mut self.use_id_token,
            "--allow-missing-pkce" => &mut self.allow_missing_pkce,
            "--no-browser" => &mut self.no_browser,
            "--client-credentials" => &mut self.client_credentials,
            "--device-code" | "--device" => &mut self.device_code,
            "--non-interactive" => &mut self.non_interactive,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Notes a flag that stands last without its value; false: it can be ignored.
    pub(super) fn needs(&mut self, name: &str) -> bool {
        let needed = NEEDED.iter().find(|needed| **needed == name);
        self.incomplete = self.incomplete.or(needed.copied());
        needed.is_some()
    }

    /// Takes a flag of [`VALUED`] with its value; of most the first one wins.
    ///
    /// # Errors
    /// Why it is ignored.
    pub(super) fn valued(&mut self, name: &str, value: String) -> Result<(), String> {
        if value.is_empty() && self.needs(name) {
            return Ok(());
        }
        let slot = match name {
            "--authorize-param" => return self.authorize_param(&value),
            "--auth-timeout" => return self.timeout(&value),
            "--dpop" => return self.dpop(&value),
            "--callback-path" => {
                check_path(&value)?;
                &mut self.callback_path
            }
            "--resource" if value.is_empty() => {
                self.disable_resource = true;
                return Ok(());
            }
            "--resource" => &mut self.resource,
            "--auth-success-url" => &mut self.success_url,
            "--client-metadata-url" => &mut self.client_metadata_url,
            "--host" => &mut self.host,
            "--token-endpoint" => &mut self.token_endpoint,
            "--client-key" => &mut self.client_key,
            "--client-key-id" => &mut self.client_key_id,
            "--client-assertion-audience" => &mut self.assertion_audience,
            "--bearer-token-file" => &mut self.bearer_token_file,
            "--static-oauth-client-info" => &mut self.client_info,
            "--static-oauth-client-metadata" => &mut self.client_metadata,
            name => match self.federation.slot(name) {
                Some(slot) => slot,
                None => return Err(format!("{name} is not known and is ignored")),
            },
        };
        if slot.is_none() {
            *slot = Some(value);
        }
        Ok(())
    }

    /// Takes the word after the URL that begins with a digit.
    ///
    /// # Errors
    /// Why it is ignored.
    pub(super) fn port(&mut self, word: &str) -> Result<(), String> {
        // What `parseInt` makes of it; 0 means none.
        let digits = word.split(|character: char| !character.is_ascii_digit());
        let port = digits.take(1).collect::<String>().parse::<u16>();
        let port = port.map_err(|_| "the callback port is not a port and is ignored".to_owned())?;
        self.callback_port = self.callback_port.or((port > 0).then_some(port));
        Ok(())
    }

    fn authorize_param(&mut self, value: &str) -> Result<(), String> {
        let Some((name, value)) = value.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err("the value of --authorize-param is not name=value and is ignored".into());
        };
        if RESERVED_PARAMETERS.contains(&name) {
            return Err(format!(
                "--authorize-param {name} is ignored: the sign-in itself sets it"
            ));
        }
        self.authorize_params
            .push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn dpop(&mut self, value: &str) -> Result<(), String> {
        let given = match value {
            "auto" => Dpop::Auto,
            "always" => Dpop::Always,
            "never" => Dpop::Never,
            _ => {
                return Err("the value of --dpop is not known and is ignored \
                            (known are auto, always, never)"
                    .into());
            }
        };
        if self.dpop == Dpop::Unspecified {
            self.dpop = given;
        }
        Ok(())
    }

    fn timeout(&mut self, value: &str) -> Result<(), String> {
        let seconds = value
            .trim()
            .parse::<u32>()
            .ok()
            .filter(|seconds| *seconds > 0);
        let Some(seconds) = seconds else {
            return Err(
                "the value of --auth-timeout is not a number of seconds, the usual one is used"
                    .into(),
            );
        };
        let given = Duration::from_secs(seconds.into());
        self.timeout = self.timeout.or(Some(given));
        Ok(())
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if !path.starts_with('/') || path.starts_with("//") || !path.bytes().all(plain) {
        let sentence =
            "the value of --callback-path is not a path like /oauth/callback, which is used";
        return Err(sentence.into());
    }
    if RESERVED_PATHS.contains(&path) {
        return Err("the value of --callback-path is reserved, /oauth/callback is used".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(flags: &[(&str, &str)]) -> (AuthArguments, Vec<String>) {
        let mut arguments = AuthArguments::default();
        let given = flags
            .iter()
            .map(|(name, value)| arguments.valued(name, (*value).to_owned()));
        let warnings = given.filter_map(Result::err).collect();
        (arguments, warnings)
    }

    #[test]
    fn values_are_taken_as_they_are_typed() {
        let (arguments, warnings) = after(&[
            ("--resource", "https://api/"),
            ("--resource", "https://second/"),
            ("--authorize-param", "audience=a=b"),
            ("--authorize-param", "prompt="),
            ("--callback-path", "/cb"),
            ("--auth-timeout", "90"),
            ("--dpop", "never"),
            ("--dpop", "always"),
            ("--static-oauth-client-info", "@file"),
        ]);
        assert_eq!(warnings, [""; 0]);
        assert_eq!(arguments.resource.as_deref(), Some("https://api/"));
        let expected = [("audience", "a=b"), ("prompt", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(arguments.authorize_params, expected);
        assert_eq!(arguments.callback_path.as_deref(), Some("/cb"));
        assert_eq!(arguments.timeout, Some(Duration::from_secs(90)));
        assert_eq!(arguments.dpop, Dpop::Never);
        assert_eq!(arguments.client_info.as_deref(), Some("@file"));
        assert!(after(&[("--resource", "")]).0.disable_resource);
    }

    #[test]
    fn what_is_wrong_is_a_warning_that_repeats_no_value() {
        for flag in [
            ("--authorize-param", "s3cret"),
            ("--authorize-param", "=s3cret"),
            ("--authorize-param", "state=s3cret"),
            ("--authorize-param", "redirect_uri=s3cret"),
            ("--callback-path", "s3cret"),
            ("--callback-path", "//s3cret"),
            ("--callback-path", "/a?s3cret"),
            ("--callback-path", "/wait-for-auth"),
            ("--dpop", "s3cret"),
            ("--auth-timeout", "s3cret"),
            ("--auth-timeout", "0"),
        ] {
            let (arguments, warnings) = after(&[flag]);
            assert_eq!(arguments, AuthArguments::default(), "{flag:?}");
            assert_eq!(warnings.len(), 1, "{flag:?}");
            assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
        }
    }

    #[test]
    fn a_port_is_what_the_npm_package_makes_of_it() {
        for (word, port) in [("9696", Some(9696)), ("9696abc", Some(9696)), ("0", None)] {
            let mut arguments = AuthArguments::default();
            assert_eq!(arguments.port(word), Ok(()));
            assert_eq!(arguments.callback_port, port, "{word}");
        }
        assert!(AuthArguments::default().port("99999").is_err());
    }
}
