//! Properties: what is known of an exchange, by path. The paths and the forms of their values are Envoy's, so that filters
//! written for it find what they look for; those under `waypost` are our own.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::Version;
use wasmtime::Linker;

use super::ENV;
use super::maps::{self, Map};
use super::memory::{Answer, Guest, Status, Value, code, give, parts, slice};
use crate::wasm::exchange::Exchange;
use crate::wasm::host::Host;

/// The most properties that filters may set of one exchange.
const MOST: usize = 128;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_get_property", |mut guest: Guest<'_>, path: i32, len: i32, at: i32, out: i32| {
        code(read(&mut guest, path, len).and_then(|value| give(&mut guest, value.as_ref(), at, out)))
    })?;
    linker.func_wrap(
        ENV,
        "proxy_set_property",
        |mut guest: Guest<'_>, path: i32, path_len: i32, at: i32, len: i32| {
            code(write(&mut guest, (path, path_len), (at, len)))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_call_foreign_function",
        |mut guest: Guest<'_>, name: i32, name_len: i32, at: i32, len: i32, out: i32, out_len: i32| {
            code(foreign(&mut guest, (name, name_len), (at, len)).and_then(|()| give(&mut guest, &[], out, out_len)))
        },
    )?;
    Ok(())
}

fn read(guest: &mut Guest<'_>, path: i32, len: i32) -> Answer<Value> {
    let (memory, host) = parts(guest)?;
    let path = slice(memory, path, len)?;
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    if let Some(Some(set)) = host.with(|exchange| exchange.properties.get(path).cloned()) {
        return Ok(Value::Bytes(set));
    }
    let path = std::str::from_utf8(path).map_err(|_| Status::NotFound)?;
    let (first, rest) = path.split_once('\0').unwrap_or((path, ""));
    let header = |map, name: &str| maps::get(host, map, name.as_bytes()).ok();
    let value = match (first, rest) {
        ("plugin_name" | "plugin_root_id" | "plugin_vm_id", "") => Some((&*host.env.module).into()),
        ("request" | "response", rest) if rest.starts_with("headers\0") => {
            let map = if first == "request" { Map::RequestHeaders } else { Map::ResponseHeaders };
            header(map, &rest["headers\0".len()..])
        }
        ("request" | "response", rest) if rest.starts_with("trailers\0") => {
            let map = if first == "request" { Map::RequestTrailers } else { Map::ResponseTrailers };
            header(map, &rest["trailers\0".len()..])
        }
        ("request", "path") => header(Map::RequestHeaders, ":path"),
        ("request", "host") => header(Map::RequestHeaders, ":authority"),
        ("request", "method") => header(Map::RequestHeaders, ":method"),
        ("request", "scheme") => header(Map::RequestHeaders, ":scheme"),
        ("request", "id") => header(Map::RequestHeaders, "x-request-id"),
        ("request", "referer") => header(Map::RequestHeaders, "referer"),
        ("request", "useragent") => header(Map::RequestHeaders, "user-agent"),
        _ => host.with(|exchange| of_exchange(exchange, first, rest)).flatten(),
    };
    value.ok_or(Status::NotFound)
}

fn number(value: impl Into<i128>) -> Option<Value> {
    let value = i64::try_from(value.into()).unwrap_or(i64::MAX);
    Some(Value::Vec(value.to_le_bytes().to_vec()))
}

fn text(text: impl AsRef<str>) -> Option<Value> {
    Some(text.as_ref().into())
}

fn of_exchange(exchange: &Exchange, first: &str, rest: &str) -> Option<Value> {
    let facts = &exchange.facts;
    let nanos = |duration: std::time::Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match (first, rest) {
        ("source", "address") => text(facts.source.to_string()),
        ("source", "port") => number(facts.source.port()),
        ("destination", "address") => text(facts.destination.to_string()),
        ("destination", "port") => number(facts.destination.port()),
        ("connection", "mtls") => Some(Value::Vec(vec![0])),
        ("request", "protocol") => text(protocol(exchange)?),
        ("request", "url_path") => text(exchange.request.as_ref()?.uri.path()),
        ("request", "query") => text(exchange.request.as_ref()?.uri.query().unwrap_or_default()),
        ("request", "time") => number(nanos(facts.time.duration_since(UNIX_EPOCH).unwrap_or_default())),
        ("request", "duration") => number(nanos(facts.started.elapsed())),
        ("request", "size" | "total_size") => number(facts.request_bytes),
        ("response", "code") => number(exchange.response.as_ref()?.status.as_u16()),
        ("response", "code_details") => text(code_details(exchange)),
        ("response", "grpc_status") => number(facts.grpc_status?),
        ("response", "size" | "total_size") => number(facts.response_bytes),
        ("upstream", "address") | ("waypost", "endpoint") => some(&facts.endpoint),
        ("upstream", "port") => number(facts.endpoint.rsplit_once(':')?.1.parse::<u16>().ok()?),
        ("cluster_name" | "route_name", "") | ("xds", "cluster_name" | "route_name") | ("waypost", "service") => {
            some(&facts.service)
        }
        ("waypost", "outcome") => some(facts.outcome),
        ("listener_direction", "") => number(2),
        _ => None,
    }
}

fn some(value: &str) -> Option<Value> {
    (!value.is_empty()).then(|| value.into())
}

fn code_details(exchange: &Exchange) -> &str {
    match &exchange.local {
        Some(local) => &local.details,
        None if exchange.response.is_some() => "via_upstream",
        None => "",
    }
}

fn protocol(exchange: &Exchange) -> Option<&'static str> {
    Some(match exchange.request.as_ref()?.version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    })
}

/// Sets a property. Those of ours decide where the exchange goes; others are kept for filters that come later.
fn write(guest: &mut Guest<'_>, (path, path_len): (i32, i32), (at, len): (i32, i32)) -> Answer {
    let (memory, host) = parts(guest)?;
    let path = slice(memory, path, path_len)?;
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let value = slice(memory, at, len)?;
    let module = host.env.module.clone();
    host.with(|exchange| {
        let ours = std::str::from_utf8(path).ok().filter(|path| path.starts_with("waypost"));
        // Guests write the path of one of ours with dots as well: to them it is a name.
        let Some(ours) = ours.map(|path| path.replace('\0', ".")) else {
            if exchange.properties.len() < MOST || exchange.properties.contains_key(path) {
                exchange.properties.insert(path.to_vec(), Bytes::copy_from_slice(value));
            }
            return;
        };
        let value = String::from_utf8_lossy(value).into_owned();
        let wanted = (!value.is_empty()).then_some(value);
        match ours.as_str() {
            "waypost.service" => exchange.service = wanted,
            "waypost.subset.version" => exchange.subset.version = wanted,
            "waypost.subset.zone" => exchange.subset.zone = wanted,
            "waypost.subset.tag" => exchange.subset.tags.extend(wanted),
            other => tracing::warn!(target: "waypost::module", %module, "there is no property `{other}` to be set"),
        }
    });
    Ok(())
}

/// The functions that are not proxy-wasm's own.
fn foreign(guest: &mut Guest<'_>, (name, name_len): (i32, i32), (at, len): (i32, i32)) -> Answer {
    let (memory, host) = parts(guest)?;
    let argument = slice(memory, at, len)?;
    match slice(memory, name, name_len)? {
        b"clear_route_cache" => {
            host.with(|exchange| exchange.reroute = true);
            Ok(())
        }
        b"waypost.set_endpoint" => {
            let endpoint = std::str::from_utf8(argument).map_err(|_| Status::BadArgument)?.to_owned();
            host.with(|exchange| exchange.endpoint = (!endpoint.is_empty()).then_some(endpoint));
            Ok(())
        }
        _ => Err(Status::NotFound),
    }
}
