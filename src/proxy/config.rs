//! What the proxy listens on and what it accepts from clients.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::balance::{Balance, Balancer};
use crate::config::Section;
use crate::health;
use crate::upstream::{self, Limits};
use crate::wasm::Use;

/// Where the proxy listens and what it accepts from clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect, by HTTP/1.1 or by HTTP/2 with prior knowledge. 127.0.0.1:8400.
    pub listen: SocketAddr,
    /// Threads that carry calls. The number of cores, at most 4; 1 to 64.
    pub workers: usize,
    /// Most client connections at a time, over all workers; more wait to be accepted. 10,000; 1 to 1,000,000.
    pub max_connections: usize,
    /// What is accepted on an HTTP/2 connection.
    pub limits: Limits,
    /// Most fields of a request's header list. 128; 16 to 4,096.
    pub max_header_fields: usize,
    /// Most streams that a client may reset before we got to them; more end its connection. 20; 1 to 10,000.
    pub max_pending_resets: usize,
    /// Most streams of a connection that we reset for a client's protocol errors; more end it. 1,024; 1 to 1,000,000.
    pub max_error_resets: usize,
    /// From accepting a connection to its first request's first byte. 10 s; 100 ms to 10 min.
    pub handshake_timeout: Duration,
    /// To read the head of an HTTP/1.1 request. 10 s; 100 ms to 10 min.
    pub header_timeout: Duration,
    /// How long a connection may be without a request before it is closed. 1 h; 1 s to 24 h.
    pub idle_timeout: Duration,
    /// How long a receiver may take nothing of what is sent, or an HTTP/1.1 client send nothing of a body that is waited
    /// for, before the call is given up. 1 min; 1 s to 24 h.
    pub stall_timeout: Duration,
    /// How long calls may go on after the order to stop. 30 s; 0 s to 1 h.
    pub grace: Duration,
    /// Whether error messages to clients name the address of an endpoint. False.
    pub reveal_addresses: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8400)),
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
            max_connections: 10_000,
            limits: Limits::CLIENTS,
            max_header_fields: 128,
            max_pending_resets: 20,
            max_error_resets: 1_024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            stall_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            reveal_addresses: false,
        }
    }
}

impl Config {
    /// Reads the section `proxy`.
    pub fn read(section: &mut Section<'_>) -> Config {
        let base = Config::default();
        let range = |low: u64, high: u64| Duration::from_millis(low)..=Duration::from_secs(high);
        Config {
            listen: section.listen("listen", base.listen),
            workers: section.integer("workers", base.workers, 1..=64),
            max_connections: section.integer("max_connections", base.max_connections, 1..=1_000_000),
            limits: section.section("limits", |limits| Limits::read(limits, &base.limits)),
            max_header_fields: section.integer("max_header_fields", base.max_header_fields, 16..=4_096),
            max_pending_resets: section.integer("max_pending_resets", base.max_pending_resets, 1..=10_000),
            max_error_resets: section.integer("max_error_resets", base.max_error_resets, 1..=1_000_000),
            handshake_timeout: section.duration("handshake_timeout", base.handshake_timeout, range(100, 600)),
            header_timeout: section.duration("header_timeout", base.header_timeout, range(100, 600)),
            idle_timeout: section.duration("idle_timeout", base.idle_timeout, range(1_000, 86_400)),
            stall_timeout: section.duration("stall_timeout", base.stall_timeout, range(1_000, 86_400)),
            grace: section.duration("grace", base.grace, range(0, 3_600)),
            reveal_addresses: section.boolean("reveal_addresses", base.reveal_addresses),
        }
    }
}

/// How calls to one service are carried.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// Which endpoint takes a call. Round robin.
    pub balance: Balance,
    /// The header whose value policies get as a hash. Unset: they get 0.
    pub hash_header: Option<HeaderName>,
    /// The longest that a call may take, if the caller did not ask for less. Unset: no limit.
    pub timeout: Option<Duration>,
    /// When its endpoints count as healthy.
    pub health: Arc<health::Config>,
    /// How its endpoints are connected to.
    pub upstream: Arc<upstream::Config>,
}

/// The settings of all services.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Services {
    /// For every service, and every key that a named one leaves out.
    pub default: Service,
    /// By service name.
    pub named: BTreeMap<String, Service>,
}

impl Service {
    fn read(section: &mut Section<'_>) -> Service {
        let base = Service::default();
        Service {
            balance: balance(section),
            hash_header: section.optional_parsed("hash_header"),
            timeout: section.optional_duration(
                "timeout",
                base.timeout,
                Duration::from_millis(1)..=Duration::from_secs(86_400),
            ),
            health: Arc::new(section.section("health", health::Config::read)),
            upstream: Arc::new(upstream::Config::read(section)),
        }
    }
}

/// A balancer's name is looked for among those that are built in, then among modules.
fn balance(section: &mut Section<'_>) -> Balance {
    let name = section.string("balance", "round_robin");
    let config = section.document("balance_config");
    match Balancer::ALL.iter().find(|(native, _)| *native == name) {
        Some((_, native)) => {
            if !config.is_empty() {
                section.error("balance_config", format!("`{name}` takes no configuration; only modules do"));
            }
            Balance::Native(*native)
        }
        None => Balance::Module(Use { module: name, config }),
    }
}

impl Services {
    /// Reads the section `services`.
    pub fn read(section: &mut Section<'_>) -> Services {
        Services {
            default: section.section("default", Service::read),
            named: section.map_over("named", "default", |_, named| Service::read(named)),
        }
    }

    /// The settings of a service.
    pub fn of(&self, name: &str) -> &Service {
        self.named.get(name).unwrap_or(&self.default)
    }
}
