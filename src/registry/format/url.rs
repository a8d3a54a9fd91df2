//! A URL, whose scheme says what the instance speaks and whether it wants TLS. Path and query say nothing here.

use super::draft::{Draft, Location};
use super::{Place, raw};
use crate::registry::{Instance, Protocol, clip};

pub(super) fn read(place: &Place<'_>, value: &str) -> Result<Draft, String> {
    Ok(Draft::new(place, location(value, None)?))
}

/// Reads `scheme://host:port[/…]`, where the port may be missing if `port` is known from elsewhere; the schemes of the
/// web bring their own.
pub(super) fn location(text: &str, port: Option<u16>) -> Result<Location, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("`{}` is not a URL", clip(text)))?;
    let (protocol, tls, default) = match scheme.to_ascii_lowercase().as_str() {
        "grpc" | "h2c" => (Protocol::Http2, false, None),
        "grpcs" => (Protocol::Http2, true, None),
        "http" => (Protocol::Http1, false, Some(80)),
        "https" => (Protocol::Http1, true, Some(443)),
        _ => {
            let scheme = clip(scheme);
            return Err(format!("its scheme is `{scheme}`, not one of grpc, grpcs, h2c, http, https"));
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let may_lack_port = !authority.contains(':') || authority.starts_with('[');
    let Location { address, .. } = raw::location(authority, port.or(default).filter(|_| may_lack_port))?;
    Ok(Location { address, protocol: Some(protocol), tls: Some(tls) })
}

/// The URL of an instance. gRPC where nothing is said of what it speaks.
pub(super) fn encode(instance: &Instance) -> String {
    let scheme = match (instance.protocol, instance.tls) {
        (Some(Protocol::Http1), Some(true)) => "https",
        (Some(Protocol::Http1), _) => "http",
        (_, Some(true)) => "grpcs",
        _ => "grpc",
    };
    format!("{scheme}://{}", instance.address)
}
