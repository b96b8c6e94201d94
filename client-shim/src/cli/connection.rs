//! The flags about the connection and what goes over it: the npm package's names
//! and rules.
//!
//! Pure. What is wrong is a warning and the usual value, as there.

use std::time::Duration;

use super::words::seconds;

/// Flags about the connection that a value follows.
pub(super) const VALUED: &[&str] = &[
    "--body-timeout",
    "--connect-timeout",
    "--headers-timeout",
    "--ignore-tool",
    "--ping-interval",
    "--protocol",
];

/// Those without a value.
pub(super) const SWITCHES: &[&str] = &[
    "--disable-cookies",
    "--enable-proxy",
    "--ipv4",
    "--keep-alive",
];

/// How often the server is pinged with `--keep-alive` alone.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// What the command line says of the connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionArguments {
    /// `--ignore-tool`, each one.
    pub(crate) ignore_tools: Vec<String>,
    /// `--connect-timeout`; none: as usual.
    pub(crate) connect_timeout: Option<Duration>,
    /// `--headers-timeout`; none or zero: for ever.
    pub(crate) headers_timeout: Option<Duration>,
    /// `--body-timeout`; none or zero: for ever.
    pub(crate) body_timeout: Option<Duration>,
    /// `--ipv4`.
    pub(crate) ipv4: bool,
    /// `--disable-cookies`.
    pub(crate) disable_cookies: bool,
    keep_alive: bool,
    ping_interval: Option<Duration>,
}

impl ConnectionArguments {
    /// Returns how often the server is pinged; none: never.
    pub(crate) fn ping_interval(&self) -> Option<Duration> {
        let usual = self.keep_alive.then_some(PING_INTERVAL);
        self.ping_interval.or(usual)
    }

    /// Takes a switch; false: it is not about the connection.
    pub(super) fn switch(&mut self, name: &str) -> bool {
        let switch = match name {
            "--disable-cookies" => &mut self.disable_cookies,
            "--ipv4" => &mut self.ipv4,
            "--keep-alive" => &mut self.keep_alive,
            // The proxy environment always counts.
            "--enable-proxy" => return true,
            _ => return false,
        };
        *switch = true;
        true
    }

    /// Takes a flag of [`VALUED`] with its value; of most the first one wins.
    ///
    /// # Errors
    /// Why it is ignored.
    pub(super) fn valued(&mut self, name: &str, value: String) -> Result<(), String> {
        let (slot, may_be_zero) = match name {
            "--ignore-tool" => {
                self.ignore_tools.push(value);
                return Ok(());
            }
            "--protocol" => return protocol(&value),
            "--connect-timeout" => (&mut self.connect_timeout, false),
            "--ping-interval" => (&mut self.ping_interval, false),
            "--headers-timeout" => (&mut self.headers_timeout, true),
            _ => (&mut self.body_timeout, true),
        };
        let given = seconds(value.trim()).filter(|given| may_be_zero || !given.is_zero());
        let Some(given) = given else {
            return Err(format!(
                "the value of {name} is not a number of seconds, the usual one is used"
            ));
        };
        slot.get_or_insert(given);
        Ok(())
    }
}

/// The revisions to 2025-11-25 are what the npm package calls legacy.
fn protocol(mode: &str) -> Result<(), String> {
    match mode {
        "legacy" => Ok(()),
        "auto" => Err(
            "--protocol auto is not supported by this release, legacy is used: MCP up to 2025-11-25"
                .into(),
        ),
        _ => Err("the value of --protocol is not known, legacy is used (known: legacy, auto)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(flags: &[(&str, &str)]) -> (ConnectionArguments, Vec<String>) {
        let mut arguments = ConnectionArguments::default();
        let mut warnings = Vec::new();
        for (name, value) in flags {
            warnings.extend(arguments.valued(name, (*value).to_owned()).err());
        }
        (arguments, warnings)
    }

    #[test]
    fn seconds_are_numbers_and_zero_is_none_where_it_may_be() {
        let (arguments, warnings) = with(&[
            ("--connect-timeout", "2.5"),
            ("--connect-timeout", "9"),
            ("--headers-timeout", "0"),
            ("--body-timeout", "60"),
        ]);
        assert!(warnings.is_empty());
        assert_eq!(arguments.connect_timeout, Some(Duration::from_millis(2500)));
        assert_eq!(arguments.headers_timeout, Some(Duration::ZERO));
        assert_eq!(arguments.body_timeout, Some(Duration::from_secs(60)));
        for (name, value) in [
            ("--connect-timeout", "0"),
            ("--ping-interval", "0"),
            ("--headers-timeout", "-1"),
            ("--body-timeout", "s3cret"),
            ("--body-timeout", "inf"),
            ("--connect-timeout", "NaN"),
        ] {
            let (arguments, warnings) = with(&[(name, value)]);
            assert_eq!(arguments, ConnectionArguments::default());
            assert_eq!(warnings.len(), 1, "{name} {value}");
            assert!(warnings[0].contains(name) && !warnings[0].contains("s3cret"));
        }
    }

    #[test]
    fn an_interval_alone_switches_pings_on() {
        assert_eq!(ConnectionArguments::default().ping_interval(), None);
        let (arguments, _) = with(&[("--ping-interval", "5")]);
        assert_eq!(arguments.ping_interval(), Some(Duration::from_secs(5)));
        let mut arguments = ConnectionArguments::default();
        assert!(arguments.switch("--keep-alive"));
        assert_eq!(arguments.ping_interval(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn only_the_legacy_protocol_is_spoken() {
        for (mode, warned) in [("legacy", 0), ("auto", 1), ("nonsense", 1)] {
            assert_eq!(with(&[("--protocol", mode)]).1.len(), warned, "{mode}");
        }
    }
}
