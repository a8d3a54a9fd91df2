//! What goes wrong in modules.

use wasmtime::Trap;

use super::abi::Exit;

/// What went wrong in a module.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// It trapped.
    #[error("`{callback}` trapped: {why}")]
    Trap {
        /// What had been called.
        callback: &'static str,
        /// As the engine says it.
        why: String,
    },
    /// It wants more from the beginning than a module may have.
    #[error("it needs more than it may have: {0}")]
    Limit(String),
    /// It took too long.
    #[error("`{0}` took more processor time than it may")]
    Time(&'static str),
    /// It ended itself.
    #[error("`{callback}`: {exit}")]
    Exit {
        /// What had been called.
        callback: &'static str,
        /// How.
        exit: String,
    },
    /// It has something of another type than it must.
    #[error("its export `{0}` is not as it must be: {1}")]
    Export(&'static str, String),
    /// It said no.
    #[error("`{0}` answered that it refuses; its log may say why")]
    Refused(&'static str),
    /// It gave no room for what it was to be given.
    #[error("its allocator gave no room for {0} bytes")]
    Allocator(usize),
    /// The same while it was in a function of the host, which answered with a status.
    #[error("its allocator gave no room for {1} bytes that it asked for in `{0}`")]
    NoRoom(&'static str, usize),
    /// It answered something that makes no sense.
    #[error("`{callback}` gave an answer that is not valid: {why}")]
    Answer {
        /// What had been called.
        callback: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Fault {
    /// What metrics call it.
    pub fn label(&self) -> &'static str {
        match self {
            Fault::Trap { .. } => "trap",
            Fault::Limit(_) => "limit",
            Fault::Time(_) => "time",
            Fault::Exit { .. } => "exit",
            Fault::Export(..) => "export",
            Fault::Refused(_) => "refused",
            Fault::Allocator(_) | Fault::NoRoom(..) => "allocator",
            Fault::Answer { .. } => "answer",
        }
    }

    /// What an error of the engine is, in a call of `callback`.
    pub(super) fn of(callback: &'static str, error: &wasmtime::Error) -> Fault {
        if let Some(exit) = error.downcast_ref::<Exit>() {
            return Fault::Exit { callback, exit: exit.to_string() };
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Fault::Time(callback),
            Some(trap) => Fault::Trap { callback, why: trap.to_string() },
            None => Fault::Trap { callback, why: error.root_cause().to_string() },
        }
    }

    /// What an error of the engine is as it makes an instance.
    pub(super) fn of_making(error: &wasmtime::Error) -> Fault {
        let why = error.root_cause().to_string();
        match why.split_whitespace().next() {
            // The engine has no types for these; tables have a limit that nobody can change.
            Some("memory") if why.contains("exceeds") => Fault::Limit(format!("{why}; raise wasm.memory_limit")),
            Some("table") if why.contains("exceeds") => Fault::Limit(why),
            _ => Fault::of("instantiation", error),
        }
    }

    /// Whether the instance can go on: what it said was wrong, but it works as before.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Fault::Answer { .. } | Fault::NoRoom(..))
    }
}
