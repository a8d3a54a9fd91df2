//! The formats in which instances are registered, one file each, behind one seam.
//!
//! A [`Decoder`] belongs to one watched prefix. For each key below it, it says which instances the key registers, that
//! the key is something else, or why it cannot be read. It looks at nothing but the key, the value and the lease, so a
//! broken value never hurts its neighbours.
//!
//! # What a key says
//!
//! Keys are `<prefix><service>/<instance>`, or `<prefix><service>` alone for a service of one instance. Everything up to
//! the last `/` is the service, so `team/payments/1` is instance `1` of service `team/payments`. A key of one part is
//! the service, unless that part plainly names an instance: an address, or the number of the key's own lease. Then the
//! service must come from elsewhere: the prefix's `service` setting, or the `name` of a JSON value. Where
//! `team/payments` should be a service alone, [`Layout::Service`] says so.
//!
//! # Which format
//!
//! With [`FormatName::Auto`] the order is: things that are no instances (locks, elections, directory markers), then
//! layouts of other systems by their keys, then JSON objects by their fields, then text. A value under a key that ends
//! in its own lease id is taken for a candidate of an election, for the two look alike; a named format takes it for an
//! instance. An empty value under such a key is always a lock.
//!
//! # Room for further formats
//!
//! A format is a file with a function from the place (the key, taken apart) and the value to a draft. Systems that keep
//! the address in the key read it from there and may leave the value alone. One value with many instances gives several.
//! Systems that spread an instance over several keys need one more answer in [`Decoded`], a part of a named whole: the
//! table then keeps the parts by that name and asks the format to join them whenever one changes; what a key means
//! still depends on that key only.

mod draft;
mod foreign;
mod go;
mod json;
mod marker;
mod place;
mod raw;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use self::draft::Draft;
use self::place::Place;
use super::Instance;
use super::clip::clip;

pub use self::go::encode;
pub use self::place::Layout;
pub use crate::etcd::KeyValue;

/// A service's name may have this many bytes, which is more than a host name can have.
const LONGEST_SERVICE: usize = 255;

/// What a format makes of a key. Reasons are short, printable, and say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// It registers these instances.
    Instances(Vec<Instance>),
    /// It registers these instances, but part of what it says is unusable, for this reason, and the default stands in
    /// its place (weight 1, no protocol). They take calls, and the reason is to be shown.
    Flawed(Vec<Instance>, String),
    /// It is a known thing that registers nothing, such as a lock or a directory marker.
    NotAnInstance(&'static str),
    /// It should be an instance but cannot be read, for this reason.
    Unreadable(String),
}

/// The formats by the names that the configuration gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FormatName {
    /// Each value is recognised by its looks.
    #[default]
    Auto,
    /// `host:port` or `[v6]:port`.
    Raw,
    /// `grpc://host:port`, and `grpcs`, `h2c`, `http`, `https`.
    Url,
    /// What etcd's own Go client writes: JSON with `Addr`, `Metadata` and `Op`.
    Go,
    /// A JSON object with `address`, or with `host` and `port`.
    Json,
}

impl FormatName {
    /// Every format with its name.
    pub const ALL: &[(&str, FormatName)] = &[
        ("auto", FormatName::Auto),
        ("raw", FormatName::Raw),
        ("url", FormatName::Url),
        ("go", FormatName::Go),
        ("json", FormatName::Json),
    ];
}

impl FormatName {
    /// The value under which an instance is written in this format. Service and id are the key's to say; `raw` and `url`
    /// hold nothing but the address, and what is spoken there. What is recognised by its looks is written as `go`.
    pub fn encode(self, instance: &Instance) -> String {
        match self {
            FormatName::Auto | FormatName::Go => go::encode(instance),
            FormatName::Json => json::encode(instance),
            FormatName::Url => url::encode(instance),
            FormatName::Raw => instance.address.to_string(),
        }
    }
}

impl FromStr for FormatName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FormatName::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, format)| *format)
            .ok_or_else(|| format!("unknown format `{}`; it is one of auto, raw, url, go, json", clip(text)))
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FormatName::Auto => "auto",
            FormatName::Raw => "raw",
            FormatName::Url => "url",
            FormatName::Go => "go",
            FormatName::Json => "json",
        })
    }
}

/// Reads the keys below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    prefix: String,
    format: FormatName,
    layout: Layout,
    service: Option<String>,
}

impl Decoder {
    /// A decoder for the keys below `prefix`. If `service` is given, all of them register instances of that service.
    pub fn new(prefix: &str, format: FormatName, service: Option<String>) -> Self {
        Decoder { prefix: prefix.to_owned(), format, layout: Layout::Auto, service }
    }

    /// Fixes what the parts of a key mean. Without effect where the service is given.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// What this key registers.
    pub fn decode(&self, kv: &KeyValue) -> Decoded {
        let Ok(key) = std::str::from_utf8(&kv.key) else {
            return Decoded::Unreadable("its key is not UTF-8 text".into());
        };
        let auto = self.format == FormatName::Auto;
        if let Some(what) = marker::recognise(key, &kv.value, kv.lease, auto) {
            return Decoded::NotAnInstance(what);
        }
        self.read(key, &kv.value, kv.lease).and_then(Draft::finish).unwrap_or_else(Decoded::Unreadable)
    }

    fn read(&self, key: &str, value: &[u8], lease: i64) -> Result<Draft, String> {
        let place = Place::of(key, &self.prefix, self.service.as_deref(), self.layout, lease)?;
        let value = std::str::from_utf8(value).map_err(|_| "its value is not UTF-8 text")?.trim();
        if let (FormatName::Auto, Some(system)) = (self.format, foreign::by_key(key)) {
            return Err(foreign::reason(system));
        }
        if value.is_empty() {
            return Err("its value is empty; an instance's value holds its address".into());
        }
        match self.format {
            FormatName::Url => url::read(&place, value),
            FormatName::Go => go::read(&place, &object(value)?),
            FormatName::Json => json::read(&place, &object(value)?),
            FormatName::Auto if value.starts_with('{') => by_fields(&place, &object(value)?),
            FormatName::Auto if value.contains("://") => url::read(&place, value),
            FormatName::Raw | FormatName::Auto => raw::read(&place, value),
        }
    }
}

/// Reads a JSON object by the format that its fields are of. Exact names first: Go's reader ignores their case, so
/// anything that it would take is tried last.
fn by_fields(place: &Place<'_>, fields: &Map<String, Value>) -> Result<Draft, String> {
    if let Some(system) = foreign::by_fields(fields) {
        Err(foreign::reason(system))
    } else if fields.contains_key("Addr") {
        go::read(place, fields)
    } else if json::is_it(fields) {
        json::read(place, fields)
    } else if go::is_it(fields) {
        go::read(place, fields)
    } else {
        Err("it is JSON, but has none of `Addr`, `address`, or `host` and `port`".into())
    }
}

/// The value as a JSON object. Nesting is limited by the parser.
fn object(value: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(value).map_err(|error| format!("it is not a JSON object: {}", clip(&error.to_string())))
}
