//! `host:port` or `[v6]:port`, and nothing else, as go-zero and many home-made scripts write it.

use super::Place;
use super::draft::{Draft, Location};
use crate::registry::{Address, AddressError};

pub(super) fn read(place: &Place<'_>, value: &str) -> Result<Draft, String> {
    Ok(Draft::new(place, location(value, None)?))
}

/// Reads an address that may lack its port if `port` is known from elsewhere.
pub(super) fn location(text: &str, port: Option<u16>) -> Result<Location, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().or_else(|error: AddressError| {
        port.and_then(|port| Address::new(bare, port).ok()).ok_or_else(|| error.to_string())
    })?;
    Ok(Location { address, protocol: None, tls: None })
}
