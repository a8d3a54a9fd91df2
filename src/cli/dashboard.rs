//! `waypost dashboard`: the way into the dashboard of a proxy on this machine.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::sources::Given;
use super::{Failure, Sources};
use crate::admin::token;

/// Print a link that logs a browser in to the dashboard.
///
/// Reads the address and the token file as `waypost run` does with the same arguments. Who has the link can act: drain
/// endpoints, revoke leases, release locks.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost dashboard
  waypost dashboard --config waypost.yaml")]
pub(super) struct Arguments {
    #[command(flatten)]
    given: Given,
}

pub(super) fn run(
    arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (settings, _) = Sources::new(arguments.given, environment).load()?;
    let token = token::path(settings.admin.token_file.as_deref()).and_then(|path| token::read(&path));
    let token = token.map_err(|error| Failure::Token(error.to_string()))?;
    writeln!(out, "http://{}/login#{token}", from_here(settings.admin.listen))?;
    Ok(())
}

/// Where this machine reaches what listens there: every address has a loopback one among it.
fn from_here(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_leads_somewhere() {
        for (listen, link) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(from_here(listen.parse().unwrap()).to_string(), link);
        }
    }
}
