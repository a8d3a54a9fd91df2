//! What of WASI SDKs import: the clock, random numbers, output, which goes to our log, and an end. There are no files, no
//! arguments and no environment; what asks for them is told so.

use std::fmt;

use wasmtime::{FuncType, Linker, Val, ValType};

use super::general::{LONGEST_MESSAGE, say, wall_clock};
use super::memory::{Answer, Guest, parts, slice, write, write_u32, write_u64};
use crate::wasm::host::Host;

/// Both names that it is imported by.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

const BAD_FILE: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = 52;

/// The module ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) i32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it ended itself with exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

fn errno(answer: Answer) -> i32 {
    answer.map_or(FAULT, |()| 0)
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for module in MODULES {
        linker.func_wrap(
            module,
            "fd_write",
            |mut guest: Guest<'_>, file: i32, vectors: i32, count: i32, out: i32| match file {
                1 | 2 if !(0..=MOST_VECTORS).contains(&count) => INVALID,
                1 | 2 => errno(output(&mut guest, file, vectors, count, out)),
                _ => BAD_FILE,
            },
        )?;
        linker.func_wrap(module, "clock_time_get", |mut guest: Guest<'_>, clock: i32, _precision: i64, out: i32| {
            match clock {
                0..=3 => errno(write_u64(&mut guest, out, wall_clock())),
                _ => INVALID,
            }
        })?;
        linker.func_wrap(module, "clock_res_get", |mut guest: Guest<'_>, _clock: i32, out: i32| {
            errno(write_u64(&mut guest, out, 1))
        })?;
        linker.func_wrap(module, "random_get", |mut guest: Guest<'_>, at: i32, len: i32| match len as u32 {
            0..=MOST_RANDOM => errno(random(&mut guest, at, len)),
            _ => INVALID,
        })?;
        for (sizes, get) in [("environ_sizes_get", "environ_get"), ("args_sizes_get", "args_get")] {
            linker.func_wrap(module, sizes, |mut guest: Guest<'_>, count: i32, bytes: i32| {
                errno(write_u32(&mut guest, count, 0).and_then(|()| write_u32(&mut guest, bytes, 0)))
            })?;
            linker.func_wrap(module, get, |_pointers: i32, _texts: i32| 0)?;
        }
        linker.func_wrap(module, "proc_exit", |exit: i32| -> wasmtime::Result<()> { Err(Exit(exit).into()) })?;
        linker.func_wrap(module, "proc_raise", |_signal: i32| -> wasmtime::Result<i32> { Err(Exit(128).into()) })?;
        linker.func_wrap(module, "sched_yield", || 0)?;
        // Who would wait is told that all has come: a module never waits inside a callback.
        linker.func_wrap(
            module,
            "poll_oneoff",
            |mut guest: Guest<'_>, _in: i32, _events: i32, _count: i32, out: i32| errno(write_u32(&mut guest, out, 0)),
        )?;
        linker.func_wrap(module, "fd_prestat_get", |_file: i32, _out: i32| BAD_FILE)?;
        linker.func_wrap(module, "fd_fdstat_get", |mut guest: Guest<'_>, file: i32, out: i32| match file {
            // A character device that can be written to.
            0..=2 => errno(write(&mut guest, out, &[2, 0, 0, 0, 0, 0, 0, 0]).and_then(|()| {
                let at = out.wrapping_add(8);
                write_u64(&mut guest, at, 1 << 6)?;
                write_u64(&mut guest, at.wrapping_add(8), 0)
            })),
            _ => BAD_FILE,
        })?;
        linker.func_wrap(module, "fd_close", |_file: i32| BAD_FILE)?;
        for (name, parameters) in REFUSED {
            let parameters = parameters.chars().map(|c| if c == 'l' { ValType::I64 } else { ValType::I32 });
            let kind = FuncType::new(linker.engine(), parameters, [ValType::I32]);
            linker.func_new(module, name, kind, |_, _, results| {
                results[0] = Val::I32(NOT_SUPPORTED);
                Ok(())
            })?;
        }
    }
    // What Emscripten's runtime imports besides.
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_memory: i32| {})?;
    linker.func_wrap("env", "pthread_equal", |a: i32, b: i32| i32::from(a == b))?;
    Ok(())
}

/// Files and sockets, with their parameters: `i` for 32 bits, `l` for 64.
const REFUSED: [(&str, &str); 31] = [
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Parts of one output: what POSIX calls IOV_MAX. More would hold up the thread.
const MOST_VECTORS: i32 = 1_024;
/// Random bytes at once, for the same reason.
const MOST_RANDOM: u32 = 1 << 20;
/// What is kept of one output, in bytes: more than is logged, so that it shows whether there was more.
const LONGEST_OUTPUT: usize = 2 * LONGEST_MESSAGE;

fn output(guest: &mut Guest<'_>, file: i32, vectors: i32, count: i32, out: i32) -> Answer {
    let (memory, host) = parts(guest)?;
    let mut written = 0u32;
    let mut text = Vec::new();
    let vectors = slice(memory, vectors, count * 8)?;
    for vector in vectors.chunks_exact(8) {
        let [at, len] = [0, 4].map(|n| i32::from_le_bytes([vector[n], vector[n + 1], vector[n + 2], vector[n + 3]]));
        let bytes = slice(memory, at, len)?;
        written = written.saturating_add(len as u32);
        text.extend_from_slice(&bytes[..bytes.len().min(LONGEST_OUTPUT.saturating_sub(text.len()))]);
    }
    if !text.trim_ascii().is_empty() {
        say(host, if file == 1 { 2 } else { 4 }, &text)?;
    }
    write_u32(guest, out, written)
}

fn random(guest: &mut Guest<'_>, at: i32, len: i32) -> Answer {
    let (memory, _) = parts(guest)?;
    let (at, len) = (at as u32 as usize, len as u32 as usize);
    let place = memory.get_mut(at..at.saturating_add(len)).ok_or(super::memory::Status::InvalidMemoryAccess)?;
    // Modules hash with it and some sign with it, so it is the system's.
    let mut filled = 0;
    while filled < place.len() {
        match rustix::rand::getrandom(&mut place[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(super::memory::Status::InternalFailure),
        }
    }
    Ok(())
}
