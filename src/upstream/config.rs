//! How the endpoints of a service are connected to.

use std::time::Duration;

use super::Tls;
use crate::config::Section;
use crate::registry::Protocol;
use crate::table::Endpoint;

/// How the endpoints of one service are connected to. Counts are per worker and endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What the endpoints speak, whatever their registration says. Unset: the registration decides; where that says
    /// nothing, gRPC goes over HTTP/2, and for other requests the endpoint is asked once.
    pub protocol: Option<Protocol>,
    /// How to speak TLS. Unset: only to endpoints whose registration asks for it, trusting the system's authorities.
    pub tls: Option<Tls>,
    /// From the first packet to a usable connection: name look-up, TLS and, over HTTP/2, the endpoint's SETTINGS
    /// included. 1 s; 10 ms to 5 min.
    pub connect_timeout: Duration,
    /// Most connections at a time. A further HTTP/2 connection is made when all are full. 256; 1 to 65,535.
    pub max_connections: u32,
    /// Most idle HTTP/1.1 connections kept. 32; 0 to 65,535.
    pub max_idle: u32,
    /// How long a connection may be unused before it is closed. 5 min; 1 s to 24 h.
    pub idle_timeout: Duration,
    /// The age at which a connection is ended gracefully, give or take a tenth. Unset (`off`): never; from 1 s.
    pub lifetime: Option<Duration>,
    /// How often to ping while calls are open; gRPC servers permit no more than one in 5 min by default, and end the
    /// connection of whoever sends more. 5 min; from 10 s; `off` for none.
    pub keep_alive: Option<Duration>,
    /// How long a ping, or sent data, may stay unanswered before the connection is given up. 20 s; 1 s to 10 min.
    pub keep_alive_timeout: Duration,
    /// What is accepted from an endpoint.
    pub limits: Limits,
}

/// What is accepted from an HTTP/2 peer. The same for both sides of the proxy, with other defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most streams at a time on one connection. 1,000 to endpoints, 100 from clients; 1 to 1,000,000.
    pub max_streams: u32,
    /// Most bytes of one header list, counted as RFC 9113 section 6.5.2 does, 32 for each field added. 64 KiB; 4 KiB
    /// to 16 MiB.
    pub max_header_bytes: u32,
    /// Bytes that a stream may send before it must wait for the other side. 256 KiB; 16 KiB to 1 GiB.
    pub stream_window: u32,
    /// Bytes that a connection may have under way. 256 MiB to endpoints, where a slow client must not hold up its
    /// neighbours on the same connection; 4 MiB from clients; 64 KiB to 1 GiB.
    pub connection_window: u32,
}

impl Limits {
    /// The defaults towards endpoints.
    pub const ENDPOINTS: Limits = Limits {
        max_streams: 1_000,
        max_header_bytes: 64 << 10,
        stream_window: 256 << 10,
        connection_window: 256 << 20,
    };
    /// The defaults towards clients.
    pub const CLIENTS: Limits =
        Limits { max_streams: 100, max_header_bytes: 64 << 10, stream_window: 256 << 10, connection_window: 4 << 20 };

    /// Reads `limits`, with `base` for what is absent.
    pub fn read(section: &mut Section<'_>, base: &Limits) -> Limits {
        let mut bytes = |key: &str, default: u32, low: u64, high: u64| {
            u32::try_from(section.bytes(key, default.into(), low..=high)).unwrap_or(default)
        };
        Limits {
            max_header_bytes: bytes("max_header_bytes", base.max_header_bytes, 4 << 10, 16 << 20),
            stream_window: bytes("stream_window", base.stream_window, 16 << 10, 1 << 30),
            connection_window: bytes("connection_window", base.connection_window, 64 << 10, 1 << 30),
            max_streams: section.integer("max_streams", base.max_streams, 1..=1_000_000),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            protocol: None,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            max_connections: 256,
            max_idle: 32,
            idle_timeout: Duration::from_secs(300),
            lifetime: None,
            keep_alive: Some(Duration::from_secs(300)),
            keep_alive_timeout: Duration::from_secs(20),
            limits: Limits::ENDPOINTS,
        }
    }
}

impl Config {
    /// Whether this endpoint is spoken to by TLS: the settings or its registration ask for it.
    pub fn wants_tls(&self, endpoint: &Endpoint) -> bool {
        self.tls.is_some() || endpoint.instance.tls == Some(true)
    }

    /// Reads the keys of a service that concern its connections.
    pub fn read(section: &mut Section<'_>) -> Config {
        let (base, seconds) = (Config::default(), Duration::from_secs);
        Config {
            protocol: section.optional_parsed("protocol"),
            tls: Tls::read(section),
            connect_timeout: section.duration(
                "connect_timeout",
                base.connect_timeout,
                Duration::from_millis(10)..=seconds(300),
            ),
            max_connections: section.integer("max_connections", base.max_connections, 1..=65_535),
            max_idle: section.integer("max_idle", base.max_idle, 0..=65_535),
            idle_timeout: section.duration("idle_timeout", base.idle_timeout, seconds(1)..=seconds(86_400)),
            lifetime: section.optional_duration("lifetime", base.lifetime, seconds(1)..=seconds(30 * 86_400)),
            keep_alive: section.optional_duration("keep_alive", base.keep_alive, seconds(10)..=seconds(86_400)),
            keep_alive_timeout: section.duration(
                "keep_alive_timeout",
                base.keep_alive_timeout,
                seconds(1)..=seconds(600),
            ),
            limits: section.section("limits", |limits| Limits::read(limits, &base.limits)),
        }
    }
}
