//! The host in `:authority` or `Host`, which is whatever a client wrote there.

use std::net::Ipv6Addr;

use super::{LONGEST_NAME, NoRoute};

/// The host without port and final dot; an IPv6 address keeps its brackets. `None` if there is no host.
pub(super) fn host(authority: &str) -> Result<Option<&str>, NoRoute> {
    let (host, port) = match authority.find(']') {
        Some(end) if authority.starts_with('[') => authority.split_at(end + 1),
        _ => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    let host_is_fine = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.len() <= LONGEST_NAME && host.bytes().all(may_be_in_a_host),
    };
    if !port_is_fine || !host_is_fine {
        return Err(NoRoute::BadAuthority);
    }
    match host.strip_suffix('.').unwrap_or(host) {
        "" if host.is_empty() => Ok(None),
        "" => Err(NoRoute::BadAuthority),
        host => Ok(Some(host)),
    }
}

/// All that RFC 3986 lets stand in a name, and what is not ASCII: a service may be registered under any name.
fn may_be_in_a_host(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b) || !b.is_ascii()
}
