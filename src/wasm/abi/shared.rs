//! Data that all instances of a module share, and the queues that are not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime::Linker;

use super::ENV;
use super::memory::{Answer, Guest, Status, code, give, parts, slice, write_u32};
use crate::wasm::host::Host;

/// Bytes that a module may share, with what each key costs.
const MOST: usize = 16 << 20;
/// What a key costs beside itself and its value.
const OVERHEAD: usize = 200;

/// Values by key, each with a number that changes with it. It outlives the instances and versions of a module.
#[derive(Debug, Default)]
pub(crate) struct SharedData(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    values: HashMap<Bytes, Entry>,
    /// Keys by the change that wrote them last: the oldest make room.
    written: BTreeMap<u64, Bytes>,
    bytes: usize,
    changes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    cas: u32,
    /// The change by which it was last written.
    written: u64,
}

impl SharedData {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Answer {
        if cas != 0 && self.values.get(key).is_some_and(|entry| entry.cas != cas) {
            return Err(Status::CasMismatch);
        }
        self.remove(key);
        self.changes += 1;
        // 0 would mean that any will do.
        let (written, cas) = (self.changes, (self.changes as u32).max(1));
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.bytes += cost(&key, &value);
        self.written.insert(written, key.clone());
        self.values.insert(key, Entry { value, cas, written });
        while self.bytes > MOST
            && self.values.len() > 1
            && let Some((_, oldest)) = self.written.pop_first()
        {
            self.remove(&oldest);
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.values.remove(key) {
            self.bytes -= cost(key, &entry.value);
            self.written.remove(&entry.written);
        }
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_shared_data",
        |mut guest: Guest<'_>, key: i32, key_len: i32, at: i32, len: i32, cas: i32| {
            code(get(&mut guest, (key, key_len)).and_then(|entry| {
                give(&mut guest, &entry.value, at, len)?;
                write_u32(&mut guest, cas, entry.cas)
            }))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_shared_data",
        |mut guest: Guest<'_>, key: i32, key_len: i32, value: i32, len: i32, cas: i32| {
            code(set(&mut guest, (key, key_len), (value, len), cas as u32))
        },
    )?;
    // Queues: one can be made, for guests bear no other answer, but nobody is at its other end.
    linker.func_wrap(ENV, "proxy_register_shared_queue", |mut guest: Guest<'_>, _at: i32, _len: i32, out: i32| {
        code(write_u32(&mut guest, out, 0))
    })?;
    linker.func_wrap(ENV, "proxy_resolve_shared_queue", |_vm: i32, _vm_len: i32, _at: i32, _len: i32, _out: i32| {
        Status::NotFound as i32
    })?;
    linker.func_wrap(ENV, "proxy_enqueue_shared_queue", |_queue: i32, _at: i32, _len: i32| Status::NotFound as i32)?;
    linker.func_wrap(ENV, "proxy_dequeue_shared_queue", |_queue: i32, _at: i32, _len: i32| Status::Empty as i32)?;
    Ok(())
}

fn get(guest: &mut Guest<'_>, (key, len): (i32, i32)) -> Answer<Entry> {
    let (memory, host) = parts(guest)?;
    let key = slice(memory, key, len)?;
    host.env.shared.lock().values.get(key).cloned().ok_or(Status::NotFound)
}

fn set(guest: &mut Guest<'_>, (key, key_len): (i32, i32), (at, len): (i32, i32), cas: u32) -> Answer {
    let (memory, host) = parts(guest)?;
    host.env.shared.lock().set(slice(memory, key, key_len)?, slice(memory, at, len)?, cas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_only_by_who_saw_it() {
        let mut store = Store::default();
        store.set(b"key", b"one", 0).unwrap();
        let cas = store.values[&b"key"[..]].cas;
        store.set(b"key", b"two", cas).unwrap();
        assert_eq!(store.set(b"key", b"three", cas), Err(Status::CasMismatch));
        store.set(b"key", b"four", 0).unwrap();
        assert_eq!(store.values[&b"key"[..]].value, "four");
    }

    #[test]
    fn a_full_store_makes_room() {
        let mut store = Store::default();
        for n in 0..40u32 {
            store.set(&n.to_le_bytes(), &[0; 1 << 20], 0).unwrap();
            assert!(store.bytes <= MOST);
        }
        assert!(store.values.contains_key(&39u32.to_le_bytes()[..]));
        assert!(!store.values.contains_key(&0u32.to_le_bytes()[..]));
        let bytes: usize = store.values.iter().map(|(k, e)| k.len() + e.value.len() + OVERHEAD).sum();
        assert_eq!(store.bytes, bytes);
    }
}
