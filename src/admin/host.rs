//! The defence against DNS rebinding: a page in the operator's browser, loaded from a name that its owner then points
//! at 127.0.0.1, could read whatever listens there. Its requests carry that name as the host.

use std::net::{IpAddr, SocketAddr};

use http::header;
use http::request::Parts;
use http::uri::Authority;

/// The names that are ours.
#[derive(Debug, Clone)]
pub(super) struct Names {
    on_loopback: bool,
    /// In lower case, without a dot at the end.
    names: Vec<String>,
}

impl Names {
    /// On a loopback address that is `localhost`, what ends in `.localhost`, and loopback addresses; elsewhere every
    /// address, for no page can be loaded from one that its owner then points at us, and the `machine`'s own name. And
    /// what is configured.
    pub(super) fn new(local: SocketAddr, configured: &[String], machine: Option<&str>) -> Self {
        let on_loopback = local.ip().to_canonical().is_loopback();
        let machine = machine.filter(|_| !on_loopback).into_iter();
        let machine = machine.flat_map(|name| [name, name.split('.').next().unwrap_or(name)]);
        let names = configured.iter().map(String::as_str).chain(machine).map(plain).collect();
        Names { on_loopback, names }
    }

    /// Whether a request is meant for this server, by the names that it carries. One without a name does not come from a
    /// browser.
    pub(super) fn take(&self, request: &Parts) -> bool {
        let hosts = request.headers.get_all(header::HOST);
        request.uri.authority().is_none_or(|authority| self.has(authority))
            && hosts.iter().all(|host| {
                let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
                authority.is_some_and(|authority| self.has(&authority))
            })
    }

    fn has(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = address.parse::<IpAddr>() {
            return !self.on_loopback || address.to_canonical().is_loopback();
        }
        let name = plain(host);
        let is_local = name == "localhost" || name.ends_with(".localhost");
        !authority.as_str().contains('@') && (is_local || self.names.contains(&name))
    }

    /// What somebody reads who used another name.
    pub(super) fn refusal(&self) -> &'static str {
        if self.on_loopback {
            "This server answers only to localhost, loopback addresses and the names in admin.names, so that no web page can read it.\n"
        } else {
            "This server answers only to addresses, its machine's name, localhost and the names in admin.names, so that no web page can read it. Add the name there.\n"
        }
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether something is the name of a host, and nothing more.
pub(super) fn is_name(name: &str) -> bool {
    let is_host = name.parse::<Authority>().is_ok_and(|authority| authority.host() == name);
    is_host && !name.contains(['[', '@'])
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(local: &str, uri: &str, hosts: &[&str], expected: bool) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let names = Names::new(local.parse().unwrap(), &["Proxy.Example".to_owned()], Some("box.lan"));
        let got = names.take(&request.body(()).unwrap().into_parts().0);
        assert_eq!(got, expected, "{local} {uri} {hosts:?}");
    }

    #[test]
    fn on_loopback_only_local_names_are_ours() {
        for host in [
            "localhost",
            "LocalHost:8401",
            "localhost.",
            "waypost.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8401",
            "127.9.9.9",
            "[::1]",
            "[::1]:8401",
            "[::ffff:127.0.0.1]:8401",
        ] {
            check("127.0.0.1:8401", "/", &[host], true);
            check("[::1]:8401", "/", &[host], true);
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8401",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0:8401",
            "[::]:8401",
            "user@localhost",
            "local host",
            "a,localhost",
            "[::1",
        ] {
            check("127.0.0.1:8401", "/", &[host], false);
        }
    }

    #[test]
    fn every_name_that_a_request_carries_counts() {
        check("127.0.0.1:8401", "/", &[], true);
        check("127.0.0.1:8401", "/", &["localhost", "evil.example"], false);
        check("127.0.0.1:8401", "http://evil.example/", &["localhost"], false);
        check("127.0.0.1:8401", "http://localhost:8401/", &["localhost:8401"], true);
    }

    #[test]
    fn elsewhere_addresses_and_known_names_are_ours() {
        for local in ["0.0.0.0:8401", "10.0.0.1:8401", "[::]:8401"] {
            for host in [
                "10.0.0.1:8401",
                "[fd00::1]",
                "127.0.0.1",
                "localhost:1",
                "box",
                "BOX.lan:8401",
                "proxy.example",
                "proxy.example.",
            ] {
                check(local, "/", &[host], true);
            }
            for host in ["evil.example:8401", "box.evil.example", "x.proxy.example", "box.lan@evil.example", "user@box"]
            {
                check(local, "/", &[host], false);
            }
            check(local, "/", &[], true);
        }
        // A configured name is one on loopback too; the machine's is none there.
        check("127.0.0.1:8401", "/", &["proxy.example:8401"], true);
        check("127.0.0.1:8401", "/", &["box.lan"], false);
    }

    #[test]
    fn only_names_are_configured() {
        for (name, expected) in [
            ("proxy", true),
            ("a.b-c.example", true),
            ("proxy:8401", false),
            ("", false),
            ("a b", false),
            ("http://a", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
