//! A proxy of one thread's own, as far as modules can tell.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proxy_wasm::types::{BufferType, LogLevel, MapType};

/// What modules ask for and change. All of it is a test's to set and to look at.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The exchanges under way at each endpoint.
    pub in_flight: Vec<u32>,
    /// The endpoints where the call has been.
    pub tried: Vec<usize>,
    /// The reasons given for verdicts, by endpoint.
    pub reasons: BTreeMap<usize, String>,
    /// What was logged.
    pub log: Vec<(LogLevel, String)>,
    /// Nanoseconds since 1970.
    pub now: u64,
    /// The period of ticks in milliseconds; 0 for none.
    pub tick: u32,
    /// Properties, each by its path joined with dots.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// Shared data, each with the number that changes with it.
    pub shared: BTreeMap<String, (Vec<u8>, u32)>,
    /// Metrics by name, in the order in which they were defined.
    pub metrics: Vec<(String, u64)>,
    /// The HTTP calls that were made, each with its place in this list as its token. A test gives the answer: it sets
    /// headers and body with [`Host::set_headers`] and [`Host::set_buffer`] and calls what receives it.
    pub calls: Vec<Called>,
    /// What the filter answered by itself.
    pub answered: Option<Answered>,
    /// Headers and trailers; see [`Host::set_headers`].
    pub(super) maps: BTreeMap<u32, Vec<(String, Vec<u8>)>>,
    /// Bodies and configurations; see [`Host::set_buffer`].
    pub(super) buffers: BTreeMap<u32, Vec<u8>>,
}

/// A response that a filter made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u32,
    /// The gRPC status, if the filter gave one.
    pub grpc: Option<u32>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, or the message that goes with the gRPC status.
    pub body: Vec<u8>,
}

/// An HTTP call to a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Called {
    /// The name of the service.
    pub service: String,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long an answer is waited for, in milliseconds.
    pub timeout: u32,
}

impl Host {
    /// Sets all headers or trailers of one kind. Names are in small letters, as in HTTP/2.
    pub fn set_headers(&mut self, kind: MapType, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        self.maps.insert(kind as u32, headers.collect());
    }

    /// The values of a header, as texts.
    #[must_use]
    pub fn headers(&self, kind: MapType, name: &str) -> Vec<String> {
        let all = self.maps.get(&(kind as u32)).into_iter().flatten();
        all.filter(|(own, _)| own == name).map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// Sets a body or a configuration.
    pub fn set_buffer(&mut self, kind: BufferType, bytes: &[u8]) {
        self.buffers.insert(kind as u32, bytes.to_vec());
    }

    /// A property as a text.
    #[must_use]
    pub fn property(&self, path: &str) -> Option<String> {
        self.properties.get(path).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// Works with the host of this thread. The function must not call what asks the host in turn.
pub fn host<R>(work: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(work)
}

pub(crate) fn in_flight(index: usize) -> u32 {
    host(|host| host.in_flight.get(index).copied().unwrap_or(0))
}

pub(crate) fn is_tried(index: usize) -> bool {
    host(|host| host.tried.contains(&index))
}

pub(crate) fn set_reason(index: usize, text: &str) {
    host(|host| host.reasons.insert(index, text.to_owned()));
}
