//! Where events may be sent: public addresses only, unless the operator says otherwise.
//!
//! An endpoint's name is resolved for each connection, and only what it resolves to then
//! counts: a name that was public when the endpoint was made, and is not any more, leads
//! nowhere. Addresses that stand in the URL itself are never resolved and are checked apart.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::bounds::WEBHOOK_URL_BYTES_MAX;

/// An address that is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address is not public; the setting webhook_allow_private allows that")
    }
}

impl std::error::Error for NotPublic {}

/// Reads an endpoint's URL, or says what would be right.
pub(crate) fn target(text: &str, allow_private: bool) -> Result<Url, String> {
    if text.len() > WEBHOOK_URL_BYTES_MAX {
        return Err(format!("at most {WEBHOOK_URL_BYTES_MAX} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => {
            return Err("https; the setting webhook_allow_private allows http".to_owned());
        }
        _ => return Err("a URL that begins with https://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("without user and password: deliveries are signed".to_owned());
    }
    if url.fragment().is_some() {
        return Err("without a fragment, which is never sent".to_owned());
    }
    let Some(host) = url.host_str() else { return Err("a URL with a host".to_owned()) };
    // However an address was written, here it stands as one writes it.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    if !allow_private && literal.is_ok_and(|address| !is_public(address)) {
        return Err(NotPublic.to_string());
    }
    Ok(url)
}

/// Resolves names to what may be connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    pub(super) allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = found.filter(|address| allow_private || is_public(address.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err(Box::new(NotPublic).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether the whole Internet knows an address as the same host.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special-purpose addresses (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        // This network, private, loopback, multicast, reserved and broadcast.
        [0 | 10 | 127 | 224..=255, ..]
            // Shared by carriers (CGNAT).
            | [100, 64..=127, ..]
            // Link-local: here are the metadata services of clouds.
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            // Protocols, documentation, relays, benchmarks.
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

/// Global unicast only, which leaves out loopback, unspecified, unique local, link-local,
/// multicast and IPv4-mapped addresses; of it, not what is special or has an IPv4 address
/// inside (Teredo, 6to4).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        // A translator leads to the IPv4 address inside: all that some hosts have.
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    match segments[0] {
        0x2001 => segments[1] >= 0x0200 && segments[1] != 0x0db8,
        0x2002 => false,
        0x3fff => segments[1] >= 0x1000,
        first => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and last outside of what is special, and some well known.
    const PUBLIC: &str = "\
        1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 \
        192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700:4700::1111 \
        2001:4860:4860::8888 2a00:1450::1 64:ff9b::101:101";

    /// At least one of each kind, edges included.
    const PRIVATE: &str = "\
        0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
        127.255.255.254 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 192.0.2.1 \
        192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 \
        239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 \
        ::ffff:10.0.0.1 ::ffff:1.1.1.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::101:101 \
        100::1 2001::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:101:101:: 3fff::1 \
        4000::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 ffff::1";

    #[test]
    fn addresses_are_public_or_not() {
        for (addresses, expected) in [(PUBLIC, true), (PRIVATE, false)] {
            for address in addresses.split(' ') {
                assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_url_is_https_and_names_a_public_host() {
        for url in ["https://example.com", "https://example.com:8443/a?b=c", "https://1.1.1.1/"] {
            assert!(target(url, false).is_ok() && target(url, true).is_ok(), "{url}");
        }
        for (url, part) in [
            ("", "not a URL"),
            ("example.com/hook", "not a URL"),
            ("ftp://example.com", "https://"),
            ("file:///etc/passwd", "https://"),
            ("https://u@example.com", "user"),
            ("https://:p@example.com", "user"),
            ("https://example.com/#here", "fragment"),
            (&format!("https://example.com/{}", "x".repeat(2_048)), "at most"),
        ] {
            for allow_private in [false, true] {
                let refused = target(url, allow_private).unwrap_err();
                assert!(refused.contains(part), "{url}: {refused}");
            }
        }
        // An address can be written in many ways.
        for url in [
            "http://example.com",
            "https://127.0.0.1",
            "https://127.1:9000",
            "https://2130706433",
            "https://0x7f.0.0.1",
            "https://0177.0.0.1",
            "https://127.0.0.1./",
            "https://０.0.0.0",
            "https://[::1]:4050",
            "https://[::ffff:7f00:1]",
            "https://169.254.169.254/latest",
        ] {
            let refused = target(url, false).unwrap_err();
            assert!(refused.contains("webhook_allow_private"), "{url}: {refused}");
            assert!(target(url, true).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_public_addresses_only() {
        let resolve = async |allow_private| {
            let resolving = Resolver { allow_private }.resolve("localhost".parse().unwrap());
            resolving.await.map(Iterator::count).map_err(|error| error.to_string())
        };
        assert!(resolve(true).await.unwrap() > 0);
        assert!(resolve(false).await.unwrap_err().contains("not public"));
    }
}
