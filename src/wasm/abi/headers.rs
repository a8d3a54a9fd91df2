//! The functions on header and trailer maps.

use wasmtime::Linker;

use super::ENV;
use super::maps::{self, Change, Map};
use super::memory::{Answer, Guest, Status, code, give, parts, slice, write_u32};
use crate::wasm::host::Host;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_get_header_map_size", |mut guest: Guest<'_>, map: i32, out: i32| {
        code(size(&mut guest, map, out))
    })?;
    linker.func_wrap(ENV, "proxy_get_header_map_pairs", |mut guest: Guest<'_>, map: i32, at: i32, len: i32| {
        code(Map::of(map).and_then(|map| {
            let pairs = maps::encode(guest.data(), map);
            give(&mut guest, &pairs, at, len)
        }))
    })?;
    linker.func_wrap(ENV, "proxy_set_header_map_pairs", |mut guest: Guest<'_>, map: i32, at: i32, len: i32| {
        code(set_pairs(&mut guest, map, at, len))
    })?;
    linker.func_wrap(
        ENV,
        "proxy_get_header_map_value",
        |mut guest: Guest<'_>, map: i32, key: i32, key_len: i32, at: i32, len: i32| {
            code(get(&mut guest, map, (key, key_len)).and_then(|value| give(&mut guest, value.as_ref(), at, len)))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_add_header_map_value",
        |mut guest: Guest<'_>, map: i32, key: i32, key_len: i32, value: i32, len: i32| {
            code(change(&mut guest, map, (key, key_len), Some((value, len)), true))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_replace_header_map_value",
        |mut guest: Guest<'_>, map: i32, key: i32, key_len: i32, value: i32, len: i32| {
            code(change(&mut guest, map, (key, key_len), Some((value, len)), false))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_remove_header_map_value",
        |mut guest: Guest<'_>, map: i32, key: i32, key_len: i32| {
            code(change(&mut guest, map, (key, key_len), None, false))
        },
    )?;
    Ok(())
}

fn size(guest: &mut Guest<'_>, map: i32, out: i32) -> Answer {
    let size = maps::size(guest.data(), Map::of(map)?);
    write_u32(guest, out, u32::try_from(size).unwrap_or(u32::MAX))
}

fn get(guest: &mut Guest<'_>, map: i32, (key, key_len): (i32, i32)) -> Answer<super::memory::Value> {
    let map = Map::of(map)?;
    let (memory, host) = parts(guest)?;
    maps::get(host, map, slice(memory, key, key_len)?)
}

/// A change that cannot be made is logged and otherwise has no effect: guests in Rust bear no other answer than OK.
fn change(guest: &mut Guest<'_>, map: i32, (key, key_len): (i32, i32), value: Option<(i32, i32)>, add: bool) -> Answer {
    let map = Map::of(map)?;
    let (memory, host) = parts(guest)?;
    let key = slice(memory, key, key_len)?;
    let change = match value {
        None => Change::Remove,
        Some((at, len)) if add => Change::Add(slice(memory, at, len)?),
        Some((at, len)) => Change::Replace(slice(memory, at, len)?),
    };
    let changed = host.with(|exchange| maps::change(exchange, map, key, change));
    if changed.is_none_or(|changed| changed.is_err()) {
        tracing::debug!(
            target: "waypost::module",
            module = &*host.env.module,
            key = %String::from_utf8_lossy(key),
            "cannot set this header now, or to this value; it stays as it is"
        );
    }
    Ok(())
}

fn set_pairs(guest: &mut Guest<'_>, map: i32, at: i32, len: i32) -> Answer {
    let map = Map::of(map)?;
    let (memory, host) = parts(guest)?;
    let pairs = maps::decode_pairs(slice(memory, at, len)?)?;
    let set = host.with(|exchange| maps::set(exchange, map, &pairs)).unwrap_or(Err(Status::BadArgument));
    if set.is_err() {
        let module = &*host.env.module;
        tracing::debug!(target: "waypost::module", module, "cannot set these headers now; they stay as they are");
    }
    Ok(())
}
