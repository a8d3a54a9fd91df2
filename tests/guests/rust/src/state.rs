//! What outlives a request: metrics and shared data. And properties, which say where a request stands.

use proxy_wasm::{hostcalls, types::*};

use crate::calls::{hex, text};

pub struct Metrics {
    pub requests: u32,
    pub open: u32,
    pub last: u32,
    pub sizes: u32,
}

impl Metrics {
    pub fn define() -> Self {
        let define = |kind, name| hostcalls::define_metric(kind, name).unwrap_or(u32::MAX);
        Self {
            requests: define(MetricType::Counter, "guest_requests"),
            open: define(MetricType::Gauge, "guest_open"),
            last: define(MetricType::Gauge, "guest_last"),
            sizes: define(MetricType::Histogram, "guest_sizes"),
        }
    }
}

/// Adds one to the number that is stored under a key, however many instances do so. Returns it and how often another came between.
pub fn count(key: &str) -> Result<(u64, u32), Status> {
    for again in 0.. {
        let (bytes, cas) = hostcalls::get_shared_data(key)?;
        let next = bytes.map_or(0, |bytes| text(&bytes).parse().unwrap_or(0)) + 1;
        match hostcalls::set_shared_data(key, Some(next.to_string().as_bytes()), cas) {
            Ok(()) => return Ok((next, again)),
            Err(Status::CasMismatch) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::InternalFailure)
}

/// Sets a key with a version that can't be the current one.
pub fn stale(key: &str) -> Result<(), Status> {
    hostcalls::set_shared_data(key, Some(b"first"), None)?;
    let (_, cas) = hostcalls::get_shared_data(key)?;
    hostcalls::set_shared_data(key, Some(b"second"), cas)?;
    hostcalls::set_shared_data(key, Some(b"third"), cas)
}

/// A property as text, by what follows its path: `:i` an integer, `:b` a bool, `:m` a map, `:x` in hex, else text.
pub fn property(named: &str) -> (String, String) {
    let (path, kind) = named.split_once(':').unwrap_or((named, "s"));
    let value = match hostcalls::get_property(path.split('.').collect()) {
        Ok(Some(bytes)) => render(&bytes, kind),
        Ok(None) => "(none)".to_owned(),
        Err(status) => format!("({status:?})"),
    };
    (path.replace('.', "-"), value)
}

fn render(bytes: &[u8], kind: &str) -> String {
    match (kind, bytes.len()) {
        ("i", 8) => i64::from_le_bytes(bytes.try_into().unwrap_or_default()).to_string(),
        ("b", 1) => (bytes[0] != 0).to_string(),
        ("i" | "b", length) => format!("({length} bytes)"),
        ("m", 4..) => format!("{} pairs", u32::from_le_bytes(bytes[..4].try_into().unwrap_or_default())),
        ("m", _) => "0 pairs".to_owned(),
        ("x", _) => hex(bytes),
        _ => text(bytes),
    }
}
