//! The flags about tokens that another issuer vouches for: workload tokens, and
//! identity providers. Pure; only the daemon judges the values.

/// What the command line says of it; `None`: nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FederationArguments {
    /// `--workload-token-file`.
    pub(crate) workload_token_file: Option<String>,
    /// `--identity-provider`.
    pub(crate) identity_provider: Option<String>,
    /// `--identity-provider-client`: JSON, or `@file`.
    pub(crate) identity_provider_client: Option<String>,
    /// `--identity-provider-key`.
    pub(crate) identity_provider_key: Option<String>,
    /// `--subject-token-file`.
    pub(crate) subject_token_file: Option<String>,
    /// `--subject-token-type`.
    pub(crate) subject_token_type: Option<String>,
}

impl FederationArguments {
    /// Returns where the value of a flag goes; `None`: it is not one of these.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "--workload-token-file" => &mut self.workload_token_file,
            "--identity-provider" => &mut self.identity_provider,
            "--identity-provider-client" => &mut self.identity_provider_client,
            "--identity-provider-key" => &mut self.identity_provider_key,
            "--subject-token-file" => &mut self.subject_token_file,
            "--subject-token-type" => &mut self.subject_token_type,
            _ => return None,
        })
    }
}
