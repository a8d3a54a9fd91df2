//! An instance as decoded from etcd. It knows nothing of health, connections or calls.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::clip::clip;

/// One registration: where an instance of a service listens, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The service it belongs to.
    pub service: String,
    /// Its name within the service; formats without one use the last part of the key.
    pub id: String,
    /// Where it listens.
    pub address: Address,
    /// Its share of calls relative to its siblings. 0 means that it takes no new calls.
    pub weight: u32,
    /// Its version, empty if unknown.
    pub version: String,
    /// Its zone, empty if unknown.
    pub zone: String,
    /// Its tags, in the order of the registration.
    pub tags: Vec<String>,
    /// What it speaks, if the registration says so.
    pub protocol: Option<Protocol>,
    /// Whether it wants TLS, if the registration says so.
    pub tls: Option<bool>,
    /// All else that the registration says, as text.
    pub metadata: BTreeMap<String, String>,
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/2, with prior knowledge where there is no TLS; gRPC stands on it.
    Http2,
    /// HTTP/1.1.
    Http1,
}

impl FromStr for Protocol {
    type Err = String;

    /// Reads the names that people use: `grpc`, `h2`, `h2c`, `http2`, and `http`, `http1`, `http/1.1`; an `s` at the
    /// end (`grpcs`, `https`) says nothing of the protocol and is the caller's to read.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "grpc" | "grpcs" | "h2" | "h2c" | "http2" | "http/2" | "tri" => Ok(Protocol::Http2),
            "http" | "https" | "http1" | "http/1.1" | "http1.1" | "h1" | "rest" => Ok(Protocol::Http1),
            _ => Err(format!("unknown protocol `{}`; it is one of grpc, h2c, http1", clip(text))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http2 => "http2",
            Protocol::Http1 => "http1",
        })
    }
}

/// A host, as a name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address. What is shown of the text is short and printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port`.
    #[error("`{0}` has no port; write host:port, or [v6]:port")]
    NoPort(String),
    /// The part behind the last colon is not a port from 1 to 65535.
    #[error("`{0}` has a bad port; it must be a number from 1 to 65535")]
    BadPort(String),
    /// The part before the port is neither a host name nor an IP address.
    #[error("`{0}` has a bad host; it must be a host name, an IPv4 address, or an IPv6 address in brackets")]
    BadHost(String),
}

impl Address {
    /// The address of `host`, a name or an IP address without brackets.
    ///
    /// # Errors
    ///
    /// [`AddressError::BadHost`] if `host` is neither, [`AddressError::BadPort`] if the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        if port == 0 {
            return Err(AddressError::BadPort(clip(&format!("{host}:{port}"))));
        }
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if is_name || host.parse::<IpAddr>().is_ok() {
            Ok(Address { host: host.to_owned(), port })
        } else {
            Err(AddressError::BadHost(clip(host)))
        }
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `host:port`, `1.2.3.4:port` or `[v6]:port`. An IPv6 address without brackets is refused, for its end
    /// cannot be told from the port.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(clip(text)))?;
        let bad_host = || AddressError::BadHost(clip(text));
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let v6 = rest.strip_suffix(']').ok_or_else(bad_host)?;
                v6.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
                v6
            }
            None if host.contains(':') => return Err(bad_host()),
            None => host,
        };
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AddressError::BadPort(clip(text)));
        }
        let port = port.parse().map_err(|_| AddressError::BadPort(clip(text)))?;
        Address::new(host, port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port) in [
            ("10.0.0.1:8080", "10.0.0.1", 8080),
            ("[::1]:50051", "::1", 50051),
            ("pod-3.payments.internal:1", "pod-3.payments.internal", 1),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("10.0.0.1", "no port"),
            ("", "no port"),
            (":80", "bad host"),
            ("::1:80", "bad host"),
            ("[::1:80", "bad host"),
            ("[zz]:80", "bad host"),
            ("a b:80", "bad host"),
            ("<script>:80", "bad host"),
            ("a:0", "bad port"),
            ("a:65536", "bad port"),
            ("a:+8", "bad port"),
            ("a:", "bad port"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
