//! The defence against DNS rebinding: a page in the operator's browser, loaded from a name that its owner then points
//! at 127.0.0.1, could read whatever listens there. Its requests carry that name as the host.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{Request, header};

/// Whether a request is meant for this server, by the names that it carries.
///
/// On a loopback address that is `localhost`, what ends in `.localhost`, and loopback addresses. Elsewhere any name is
/// taken: the operator has opened the port to others, under names that we don't know. A request without a name does
/// not come from a browser.
pub(super) fn is_ours<B>(request: &Request<B>, local: SocketAddr) -> bool {
    if !local.ip().to_canonical().is_loopback() {
        return true;
    }
    let hosts = request.headers().get_all(header::HOST);
    request.uri().authority().is_none_or(is_local)
        && hosts.iter().all(|host| {
            host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()).as_ref().is_some_and(is_local)
        })
}

fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = address.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    !authority.as_str().contains('@') && (name == "localhost" || name.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(local: &str, uri: &str, hosts: &[&str], expected: bool) {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let got = is_ours(&request.body(()).unwrap(), local.parse().unwrap());
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
    fn elsewhere_any_name_is_taken() {
        for local in ["0.0.0.0:8401", "10.0.0.1:8401", "[::]:8401"] {
            check(local, "/", &["waypost.internal:8401"], true);
        }
    }
}
