//! The memory of a module as the host's functions see it: every pointer is checked, and nothing is written but what the
//! module asked for or its own allocator gave room for.

use bytes::Bytes;
use http::HeaderValue;
use wasmtime::{AsContextMut, Caller, Memory};

use crate::wasm::host::Host;

/// The module that calls.
pub(super) type Guest<'a> = Caller<'a, Host>;

/// What a function of the host answers. The numbers are proxy-wasm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
}

pub(super) type Answer<T = ()> = Result<T, Status>;

/// As the module reads it.
pub(super) fn code(answer: Answer) -> i32 {
    answer.map_or_else(|status| status as i32, |()| 0)
}

/// A value on its way into a module. Header values are shared, not copied.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Header(HeaderValue),
    Bytes(Bytes),
    Vec(Vec<u8>),
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        match self {
            Value::Header(value) => value.as_bytes(),
            Value::Bytes(bytes) => bytes,
            Value::Vec(bytes) => bytes,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Vec(text.as_bytes().to_vec())
    }
}

/// The module's memory, and the host beside it.
pub(super) fn parts<'a>(guest: &'a mut Guest<'_>) -> Answer<(&'a mut [u8], &'a mut Host)> {
    let memory: Memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.data_and_store_mut(guest.as_context_mut()))
}

/// What the module points at.
pub(super) fn slice(memory: &[u8], at: i32, len: i32) -> Answer<&[u8]> {
    let (at, len) = (at as u32 as usize, len as u32 as usize);
    memory.get(at..at.saturating_add(len)).ok_or(Status::InvalidMemoryAccess)
}

/// The same as text.
pub(super) fn text(memory: &[u8], at: i32, len: i32) -> Answer<&str> {
    std::str::from_utf8(slice(memory, at, len)?).map_err(|_| Status::BadArgument)
}

/// Writes to where the module wants a result.
pub(super) fn write(guest: &mut Guest<'_>, at: i32, bytes: &[u8]) -> Answer {
    let (memory, _) = parts(guest)?;
    let at = at as u32 as usize;
    let place = memory.get_mut(at..at.saturating_add(bytes.len())).ok_or(Status::InvalidMemoryAccess)?;
    place.copy_from_slice(bytes);
    Ok(())
}

pub(super) fn write_u32(guest: &mut Guest<'_>, at: i32, value: u32) -> Answer {
    write(guest, at, &value.to_le_bytes())
}

pub(super) fn write_u64(guest: &mut Guest<'_>, at: i32, value: u64) -> Answer {
    write(guest, at, &value.to_le_bytes())
}

/// Hands a value to the module, in room from its allocator, and writes where it is to the two places. The allocator is
/// the one thing of a module that is called while it is in a function of the host: nothing may be held across it.
pub(super) fn give(guest: &mut Guest<'_>, value: &[u8], at_place: i32, len_place: i32) -> Answer {
    let len = u32::try_from(value.len()).map_err(|_| Status::InternalFailure)?;
    let mut at = 0;
    if len > 0 {
        let Some(allocator) = guest.data().allocator.clone() else { return Err(no_room(guest, value)) };
        at = match allocator.call(guest.as_context_mut(), len as i32) {
            Ok(at) => at,
            Err(error) => {
                // What ends the allocator ends the callback as well, however the module takes this answer.
                guest.data_mut().broken.get_or_insert(error);
                return Err(Status::InvalidMemoryAccess);
            }
        };
        if at == 0 || write(guest, at, value).is_err() {
            return Err(no_room(guest, value));
        }
    }
    write_u32(guest, at_place, at as u32)?;
    write_u32(guest, len_place, len)
}

/// Notes that the allocator is of no use: the module may not tell, so that it is counted when its callback has ended.
fn no_room(guest: &mut Guest<'_>, value: &[u8]) -> Status {
    guest.data_mut().no_room.get_or_insert(value.len());
    Status::InvalidMemoryAccess
}
