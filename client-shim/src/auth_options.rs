//! What the daemon is told about signing in: flags, with the files that they
//! name read and `${VAR}` taken from the environment.
//!
//! Client secrets pass through here: no message of this module contains a value.

use std::path::Path;

use mcp_remote_proto::v1::{AuthOptions, AuthorizeParam};

use crate::cli::AuthArguments;
use crate::environment::{Environment, absolute};
use crate::exit::ShimError;
use crate::{headers, json};

/// Collects what the user gave; `warn` hears what is left out.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn collect(
    arguments: &AuthArguments,
    raw_headers: Vec<String>,
    environment: &Environment,
    mut warn: impl FnMut(String),
) -> Result<AuthOptions, ShimError> {
    let given = |value: &Option<String>| value.clone().unwrap_or_default();
    let param = |(name, value): &(String, String)| AuthorizeParam {
        name: name.clone(),
        value: value.clone(),
    };
    let mut document = |flag, value: &Option<String>| match value {
        Some(value) => read(flag, value, environment, &mut warn),
        None => Ok(String::new()),
    };
    // The daemon stands in another folder than the user.
    let path = |flag, value: &Option<String>| match value {
        Some(value) => absolute(Path::new(value), flag),
        None => Ok(String::new()),
    };
    let seconds = |timeout: std::time::Duration| u32::try_from(timeout.as_secs());
    let federation = &arguments.federation;
    Ok(AuthOptions {
        static_client_info: document("--static-oauth-client-info", &arguments.client_info)?,
        static_client_metadata: document(
            "--static-oauth-client-metadata",
            &arguments.client_metadata,
        )?,
        client_metadata_url: given(&arguments.client_metadata_url),
        resource: given(&arguments.resource),
        disable_resource: arguments.disable_resource,
        authorize_params: arguments.authorize_params.iter().map(param).collect(),
        callback_port: arguments.callback_port.unwrap_or_default().into(),
        callback_host: given(&arguments.host),
        callback_path: given(&arguments.callback_path),
        success_url: given(&arguments.success_url),
        timeout_s: arguments
            .timeout
            .map_or(0, |timeout| seconds(timeout).unwrap_or(u32::MAX)),
        use_id_token: arguments.use_id_token,
        allow_missing_pkce: arguments.allow_missing_pkce,
        device_code: arguments.device_code,
        raw_headers,
        client_credentials: arguments.client_credentials,
        token_endpoint: given(&arguments.token_endpoint),
        client_key: path("--client-key", &arguments.client_key)?,
        client_key_id: given(&arguments.client_key_id),
        client_assertion_audience: given(&arguments.assertion_audience),
        bearer_token_file: path("--bearer-token-file", &arguments.bearer_token_file)?,
        dpop: arguments.dpop.into(),
        workload_token_file: path("--workload-token-file", &federation.workload_token_file)?,
        identity_provider: given(&federation.identity_provider),
        identity_provider_client: document(
            "--identity-provider-client",
            &federation.identity_provider_client,
        )?,
        identity_provider_key: path("--identity-provider-key", &federation.identity_provider_key)?,
        subject_token_file: path("--subject-token-file", &federation.subject_token_file)?,
        subject_token_type: given(&federation.subject_token_type),
    })
}

/// Reads a JSON text, or with `@` the file that holds it. Variables stand inside
/// strings there, so their values are written as in one.
fn read(
    flag: &str,
    value: &str,
    environment: &Environment,
    warn: &mut impl FnMut(String),
) -> Result<String, ShimError> {
    let text = match value.strip_prefix('@') {
        Some(path) => headers::read(Path::new(path), &format!("the file of {flag}"))?,
        None => value.to_owned(),
    };
    let unset = |variable: &str| {
        warn(format!(
            "{flag}: the environment variable {variable} is not set, so ${{{variable}}} is used as it stands"
        ));
    };
    Ok(environment.expand(&text, json::inside_string, unset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(value: &str) -> (Result<AuthOptions, ShimError>, Vec<String>) {
        let environment = Environment::of(&[("KEY", "a\"b\\c")]);
        let arguments = AuthArguments {
            client_info: Some(value.to_owned()),
            ..AuthArguments::default()
        };
        let mut warnings = Vec::new();
        let options = collect(&arguments, Vec::new(), &environment, |warning| {
            warnings.push(warning);
        });
        (options, warnings)
    }

    #[test]
    fn variables_become_part_of_their_string() {
        let (options, warnings) = info(r#"{"client_secret":"${KEY}","x":"${NONE}"}"#);
        assert_eq!(
            options.expect("usable").static_client_info,
            r#"{"client_secret":"a\"b\\c","x":"${NONE}"}"#
        );
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_missing_file_is_fatal_and_named() {
        let error = info("@/nonexistent/client.json").0.expect_err("fatal");
        assert!(error.sentence.contains("/nonexistent/client.json"));
        assert!(error.sentence.contains("--static-oauth-client-info"));
    }
}
