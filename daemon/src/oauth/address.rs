//! Which network addresses the metadata of a server may lead us to. Pure.
//!
//! A public server may lead us to public addresses only: what it says must not
//! make us ask this machine, the network around it or a cloud's metadata service
//! (MCP, Security Best Practices > Server-Side Request Forgery). A server that is
//! itself in one of those places may lead us there, and to public addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The kinds of addresses that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressClass {
    /// Anywhere on the internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, RFC 4193, and site-local addresses).
    Private,
    /// A provider's or an overlay's network (RFC 6598).
    Shared,
    /// This link (RFC 3927, RFC 4291).
    LinkLocal,
    /// For benchmarks (RFC 2544); some VPN clients give such addresses to names.
    Benchmark,
    /// Never a server of anybody's choice: cloud metadata services, multicast,
    /// unspecified, documentation, reserved.
    Never,
}

impl AddressClass {
    /// Tells what an address is. One that carries an IPv4 address inside is what
    /// that one is.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            // Metadata services of clouds.
            [169, 254, 169, 254] | [169, 254, 170, 2] | [100, 100, 100, 200] => Self::Never,
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [100, 64..=127, ..] => Self::Shared,
            [169, 254, ..] => Self::LinkLocal,
            [198, 18..=19, ..] => Self::Benchmark,
            // "This network", protocol assignments, documentation, multicast and above.
            [0, ..]
            | [192, 0, 0 | 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..] => Self::Never,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() {
            return Self::Loopback;
        }
        let segments = address.segments();
        let v4 = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match segments {
            // IPv4-mapped, -compatible and -translated, NAT64 and 6to4.
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => v4(high, low),
            // The metadata service of a cloud, in a private network.
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Self::Never,
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Self::Private,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            // All that is given out so far; Teredo and documentation are inside.
            [0x2001, 0 | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Never,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Never,
        }
    }

    /// Names it in a sentence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of this machine",
            Self::Private => "a private address",
            Self::Shared => "an address of a provider's network",
            Self::LinkLocal => "a link-local address",
            Self::Benchmark => "an address for benchmarks",
            Self::Never => "a reserved address",
        }
    }
}

/// Where requests may go: to public addresses and to those of the same class as
/// the configured server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressPolicy {
    own: AddressClass,
}

impl AddressPolicy {
    /// Takes the addresses of the configured server. If one is public it counts
    /// as public: adding a private one to a name must not widen anything.
    pub(crate) fn around(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self::around_classes(addresses.into_iter().map(AddressClass::of))
    }

    /// Takes the kinds of the configured server's addresses, likewise.
    pub(crate) fn around_classes(classes: impl IntoIterator<Item = AddressClass>) -> Self {
        let mut classes = classes.into_iter();
        let first = classes.next().unwrap_or(AddressClass::Public);
        let all_alike = classes.all(|class| class == first);
        Self {
            own: if all_alike {
                first
            } else {
                AddressClass::Public
            },
        }
    }

    /// Says whether a request may go to an address.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match AddressClass::of(address) {
            AddressClass::Public => true,
            AddressClass::Never => false,
            class => class == self.own,
        }
    }

    /// Says whether the configured server may itself be at an address.
    pub(crate) fn is_home(self, address: IpAddr) -> bool {
        AddressClass::of(address) == self.own
    }

    /// Says whether the configured server is on this machine.
    pub(crate) fn is_loopback(self) -> bool {
        self.own == AddressClass::Loopback
    }
}

/// Returns the address that a URL gives as such.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn addresses_are_told_apart() {
        use AddressClass::*;
        let check = |text: &str, expected| {
            let address = text.parse().expect("an address");
            assert_eq!(AddressClass::of(address), expected, "{text}");
        };
        for text in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            check(text, Public);
        }
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::ffff:7f00:1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::ffff:0:127.0.0.1",
        ] {
            check(text, Loopback);
        }
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fd12::1",
            "fc00::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b:1::1",
        ] {
            check(text, Private);
        }
        check("100.64.0.1", Shared);
        check("169.254.1.1", LinkLocal);
        check("fe80::1", LinkLocal);
        check("198.18.0.1", Benchmark);
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
        ] {
            check(text, Never);
        }
    }

    #[test]
    fn only_the_servers_own_class_is_allowed_besides_public_addresses() {
        let all = ["1.1.1.1", "127.0.0.1", "10.0.0.1", "169.254.169.254"];
        let check = |own: &[&str], allowed: &[&str]| {
            let own = own.iter().map(|text| text.parse().expect("an address"));
            let policy = AddressPolicy::around(own);
            for text in all {
                let allows = policy.allows(text.parse().expect("an address"));
                assert_eq!(allows, allowed.contains(&text), "{policy:?} {text}");
            }
        };
        check(&["1.1.1.1"], &["1.1.1.1"]);
        check(&[], &["1.1.1.1"]);
        check(&["127.0.0.1", "::1"], &["1.1.1.1", "127.0.0.1"]);
        check(&["192.168.1.1"], &["1.1.1.1", "10.0.0.1"]);
        check(&["8.8.8.8", "10.0.0.1"], &["1.1.1.1"]);
        check(&["10.0.0.1", "127.0.0.1"], &["1.1.1.1"]);
        check(&["169.254.169.254"], &["1.1.1.1"]);
    }
}
