//! The `waypost` command. All of it is in the library, where it can be tested.

use std::env;
use std::io;
use std::process::ExitCode;

/// What a call allocates, the same thread soon frees: this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment =
        env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()));
    waypost::cli::main(env::args_os(), environment.collect(), &mut io::stdout(), &mut io::stderr()).into()
}
