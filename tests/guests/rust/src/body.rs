//! What the body modes do to a body, the same for both directions.

use proxy_wasm::{hostcalls::*, types::*};

use crate::{filter::Progress, Config};

/// True if the configuration asks for this direction: `request`, `response`, or `both`.
pub fn wanted(config: &Config, direction: &str) -> bool {
    config.mode.starts_with("body") && [direction, "both", ""].contains(&config.argument(0))
}

/// Called with each piece.
pub fn piece(
    config: &Config,
    buffer: BufferType,
    size: usize,
    end: bool,
    progress: &mut Progress,
) -> Result<Action, Status> {
    match config.mode.as_str() {
        "body" | "body-clear" if !end => return Ok(Action::Pause),
        "body" => {
            let body = get_buffer(buffer, 0, size)?.unwrap_or_default();
            set_buffer(buffer, 0, size, &[b"<", &body[..], b">"].concat())?;
        }
        "body-clear" => set_buffer(buffer, 0, size, b"")?,
        "body-stream" => {
            let piece = get_buffer(buffer, 0, size)?.unwrap_or_default();
            set_buffer(buffer, 0, size, &piece.to_ascii_uppercase())?;
        }
        "body-around" => {
            // Nothing of the body itself is read: a start and size of 0 prepend, a start beyond the end appends.
            if end {
                set_buffer(buffer, usize::MAX >> 1, 0, b"-after")?;
            }
            if !std::mem::replace(&mut progress.begun, true) {
                set_buffer(buffer, 0, 0, b"before-")?;
            }
        }
        _ => {}
    }
    Ok(Action::Continue)
}
