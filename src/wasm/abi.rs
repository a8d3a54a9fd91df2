//! The functions that modules import: all of proxy-wasm's, of every version that modules are written for, those of WASI
//! that SDKs need, and our own for policies. Each checks what it is given and answers with a status that guests bear: a
//! guest in Rust panics at one that it does not expect.
//!
//! A module is never called from within these functions, save for its allocator: what they set going is done when it has
//! returned.

mod buffers;
mod calls;
mod general;
mod headers;
mod maps;
mod memory;
mod metrics;
mod policy;
mod properties;
mod shared;
mod streams;
mod wasi;

use wasmtime::Linker;

#[cfg(test)]
pub(super) use maps::encode_pairs;
pub(super) use metrics::{GuestMetrics, Metrics};
pub(super) use shared::SharedData;
pub(super) use wasi::Exit;

use super::host::Host;

/// The module that proxy-wasm's functions are imported from.
const ENV: &str = "env";

/// Makes everything known that a module may import.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    general::link(linker)?;
    headers::link(linker)?;
    buffers::link(linker)?;
    streams::link(linker)?;
    properties::link(linker)?;
    shared::link(linker)?;
    metrics::link(linker)?;
    calls::link(linker)?;
    policy::link(linker)?;
    wasi::link(linker)
}

/// The size of each map that belongs to a direction, for its callbacks.
pub(super) fn map_size(host: &Host, direction: super::exchange::Direction, trailers: bool) -> i32 {
    use super::exchange::Direction::{Request, Response};
    use maps::Map;
    let map = match (direction, trailers) {
        (Request, false) => Map::RequestHeaders,
        (Request, true) => Map::RequestTrailers,
        (Response, false) => Map::ResponseHeaders,
        (Response, true) => Map::ResponseTrailers,
    };
    i32::try_from(maps::size(host, map)).unwrap_or(i32::MAX)
}
