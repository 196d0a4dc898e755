//! Which addresses may be connected to. Pure.
//!
//! Knows: the special ranges of IPv4 and IPv6 and the operator's allow-list. Must not know: names,
//! sockets, HTTP. Whoever connects asks for every address, literal or resolved, at every hop.
//!
//! What is refused, unless the allow-list holds it: everything that is not plain public unicast,
//! since a URL in a document would otherwise reach what its author cannot (the node, the cluster,
//! the cloud's metadata). IPv6 is taken only from `2000::/3`, and an IPv4 address inside an IPv6
//! one is judged as IPv4 where the kernel or a NAT64 gateway would send it there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Refusal {
    /// The machine itself.
    Loopback,
    /// The same link.
    #[strum(serialize = "link-local")]
    LinkLocal,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// RFC 1918, RFC 6598 (carrier-grade NAT) and unique local addresses.
    Private,
    /// More than one receiver, broadcast included.
    Multicast,
    /// No address at all, which systems take for their own.
    Unspecified,
    /// Documentation, benchmarks, protocols, and what nobody has assigned.
    Reserved,
    /// An IPv6 form that carries an IPv4 address through a tunnel.
    Tunnel,
}

/// The address guard.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
}

/// Metadata services by address. Azure's is a public address; the others also lie in ranges that
/// are refused anyway, but an allow-list that opens such a range must not open them by accident.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// The special ranges of IPv4 (the IANA registry), first match wins.
const SPECIAL_V4: [(Ipv4Addr, u32, Refusal); 19] = [
    (Ipv4Addr::UNSPECIFIED, 32, Refusal::Unspecified),
    (Ipv4Addr::UNSPECIFIED, 8, Refusal::Reserved),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Refusal::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Refusal::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Refusal::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Refusal::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Refusal::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Refusal::Tunnel),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Refusal::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Refusal::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Refusal::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Refusal::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Refusal::Reserved),
];

/// The special ranges of IPv6 (the IANA registry), first match wins.
const SPECIAL_V6: [(Ipv6Addr, u32, Refusal); 12] = [
    (Ipv6Addr::UNSPECIFIED, 128, Refusal::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Refusal::Loopback),
    (Ipv6Addr::UNSPECIFIED, 96, Refusal::Tunnel),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Refusal::Tunnel),
    // Teredo, ORCHID, benchmarks and the like.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Refusal::Tunnel),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Refusal::Reserved),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Refusal::Tunnel),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Refusal::Reserved),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Refusal::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Refusal::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Refusal::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Refusal::Multicast),
];

/// The well-known prefix of NAT64 (RFC 6052).
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
/// What IANA hands out as global unicast.
const GLOBAL_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

impl Guard {
    /// A guard that lets through what is public and what `allow` holds. A metadata service is let
    /// through only by an entry for that one address (`/32` or `/128`).
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// May this address be connected to?
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        match classify(address) {
            Some(refusal) if !self.allows(address, refusal) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// May this address be connected to, if the caller knows that it is a Service of the
    /// contract's own namespace? Such an address may be private, and nothing worse.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_service(&self, address: IpAddr) -> Result<(), Refusal> {
        match self.judge(address) {
            Err(Refusal::Private) => Ok(()),
            judged => judged,
        }
    }

    fn allows(&self, address: IpAddr, refusal: Refusal) -> bool {
        self.allow.iter().any(|net| {
            let alone = net.prefix_len() == net.max_prefix_len();
            net.contains(&address) && (alone || refusal != Refusal::Metadata)
        })
    }
}

/// Why `address` is refused by default.
fn classify(address: IpAddr) -> Option<Refusal> {
    if METADATA.contains(&address) {
        return Some(Refusal::Metadata);
    }
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> Option<Refusal> {
    if address.is_broadcast() {
        return Some(Refusal::Multicast);
    }
    let bits = address.to_bits();
    let within = |net: Ipv4Addr, length: u32| (bits ^ net.to_bits()).leading_zeros() >= length;
    SPECIAL_V4.iter().find(|(net, length, _)| within(*net, *length)).map(|(.., refusal)| *refusal)
}

fn classify_v6(address: Ipv6Addr) -> Option<Refusal> {
    let bits = address.to_bits();
    let within = |net: Ipv6Addr, length: u32| (bits ^ net.to_bits()).leading_zeros() >= length;
    if within(NAT64, 96) {
        // A gateway sends this to the embedded address, so that one is judged.
        let [.., a, b, c, d] = address.octets();
        return classify(Ipv4Addr::new(a, b, c, d).into());
    }
    if let Some((.., refusal)) = SPECIAL_V6.iter().find(|(net, length, _)| within(*net, *length)) {
        return Some(*refusal);
    }
    // ISATAP writes an IPv4 address behind any prefix.
    let [.., 0 | 0x200, 0x5efe, _, _] = address.segments() else {
        return (!within(GLOBAL_V6, 3)).then_some(Refusal::Reserved);
    };
    Some(Refusal::Tunnel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::{Host, Url};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[test]
    fn every_special_range_is_refused_at_both_ends_and_its_neighbours_are_not() {
        let table = [
            ("0.0.0.0", Refusal::Unspecified),
            ("0.255.255.255", Refusal::Reserved),
            ("10.0.0.0", Refusal::Private),
            ("10.255.255.255", Refusal::Private),
            ("100.64.0.0", Refusal::Private),
            ("100.127.255.255", Refusal::Private),
            ("100.100.100.200", Refusal::Metadata),
            ("127.0.0.1", Refusal::Loopback),
            ("127.255.255.255", Refusal::Loopback),
            ("168.63.129.16", Refusal::Metadata),
            ("169.254.0.0", Refusal::LinkLocal),
            ("169.254.169.254", Refusal::Metadata),
            ("169.254.170.2", Refusal::Metadata),
            ("172.16.0.0", Refusal::Private),
            ("172.31.255.255", Refusal::Private),
            ("192.0.0.1", Refusal::Reserved),
            ("192.0.0.192", Refusal::Metadata),
            ("192.0.2.1", Refusal::Reserved),
            ("192.88.99.1", Refusal::Tunnel),
            ("192.168.0.0", Refusal::Private),
            ("192.168.255.255", Refusal::Private),
            ("198.18.0.0", Refusal::Reserved),
            ("198.19.255.255", Refusal::Reserved),
            ("198.51.100.9", Refusal::Reserved),
            ("203.0.113.9", Refusal::Reserved),
            ("224.0.0.1", Refusal::Multicast),
            ("239.255.255.255", Refusal::Multicast),
            ("240.0.0.1", Refusal::Reserved),
            ("255.255.255.255", Refusal::Multicast),
            ("::", Refusal::Unspecified),
            ("::1", Refusal::Loopback),
            ("::127.0.0.1", Refusal::Tunnel),
            ("::ffff:127.0.0.1", Refusal::Loopback),
            ("::ffff:169.254.169.254", Refusal::Metadata),
            ("::ffff:10.0.0.1", Refusal::Private),
            ("64:ff9b::7f00:1", Refusal::Loopback),
            ("64:ff9b::a9fe:a9fe", Refusal::Metadata),
            ("64:ff9b:1::1", Refusal::Tunnel),
            ("100::1", Refusal::Reserved),
            ("2001::1", Refusal::Tunnel),
            ("2001:0:7f00:1::", Refusal::Tunnel),
            ("2001:db8::1", Refusal::Reserved),
            ("2002:7f00:1::", Refusal::Tunnel),
            ("2002:a9fe:a9fe::1", Refusal::Tunnel),
            ("2606:4700::5efe:7f00:1", Refusal::Tunnel),
            ("3fff::1", Refusal::Reserved),
            ("4000::1", Refusal::Reserved),
            ("5f00::1", Refusal::Reserved),
            ("fc00::1", Refusal::Private),
            ("fd00:ec2::254", Refusal::Metadata),
            ("fdff::1", Refusal::Private),
            ("fe80::1", Refusal::LinkLocal),
            ("fec0::1", Refusal::Private),
            ("ff02::1", Refusal::Multicast),
        ];
        for (address, refusal) in table {
            assert_eq!(guard(&[]).judge(ip(address)), Err(refusal), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2001:200::1",
            "2606:4700::1111",
            "3ffe::1",
        ] {
            assert_eq!(guard(&[]).judge(ip(address)), Ok(()), "{address}");
        }
    }

    /// The url crate writes every spelling of an address in one way; the guard relies on it.
    #[test]
    fn every_spelling_of_an_address_in_a_url_is_refused() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://１２７.0.0.1/",
            "http://user@127.0.0.1/",
            "http://cdn.example.com@127.0.0.1/",
            "http://127.0.0.1\\@cdn.example.com/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::]/",
            "http://0/",
            "http://0.0.0.0/",
            "http://2852039166/latest/meta-data",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
        ] {
            let address = match Url::parse(url).unwrap().host() {
                Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
                Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
                host => panic!("{url} has the host {host:?}"),
            };
            assert!(guard(&[]).judge(address).is_err(), "{url} is {address}");
        }
    }

    #[test]
    fn the_allow_list_opens_exactly_what_it_holds() {
        let guard = guard(&["10.1.0.0/16", "fd00::/8", "127.0.0.1/32"]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "127.0.0.1", "1.1.1.1"] {
            assert_eq!(guard.judge(ip(address)), Ok(()), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "::1", "64:ff9b::a01:203", "::10.1.2.3"] {
            assert!(guard.judge(ip(address)).is_err(), "{address}");
        }
    }

    #[test]
    fn a_wide_allow_list_does_not_open_metadata_services() {
        let wide = guard(&["0.0.0.0/0", "::/0"]);
        for address in ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"] {
            assert_eq!(wide.judge(ip(address)), Err(Refusal::Metadata), "{address}");
        }
        assert_eq!(wide.judge(ip("127.0.0.1")), Ok(()));
        assert_eq!(guard(&["169.254.169.254/32"]).judge(ip("169.254.169.254")), Ok(()));
    }

    #[test]
    fn a_service_may_have_a_private_address_and_nothing_worse() {
        for address in ["10.96.0.1", "fd00:10:96::1", "1.1.1.1"] {
            assert_eq!(guard(&[]).judge_service(ip(address)), Ok(()), "{address}");
        }
        for address in ["127.0.0.1", "169.254.169.254", "100.100.100.200", "::1", "0.0.0.0"] {
            assert!(guard(&[]).judge_service(ip(address)).is_err(), "{address}");
        }
    }
}
