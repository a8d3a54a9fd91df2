//! Actions on modules. They are of this proxy alone and ask nothing of etcd.

use axum::http::StatusCode;

use super::{Act, Refusal, Wish};
use crate::admin::Running;
use crate::registry::clip;
use crate::wasm::{Outcome, Status};

fn changed(wish: &Wish) -> Refusal {
    Refusal::changed(&format!("The module {}", clip(&wish.module)))
}

fn hash(wish: &Wish) -> Result<u64, Refusal> {
    u64::from_str_radix(&wish.hash, 16).map_err(|_| changed(wish))
}

/// Whether the version that the page showed is in force. Gives the keys that name it.
pub(super) fn look(running: &Running, wish: &Wish) -> Result<Vec<String>, Refusal> {
    let found = running.dashboard.sources.modules.find(&wish.module, hash(wish)?);
    found.map(|status| status.keys).ok_or_else(|| changed(wish))
}

/// What will happen.
pub(super) fn what(wish: &Wish) -> String {
    let name = clip(&wish.module);
    match wish.act {
        Act::Reload => format!(
            "The file of {name} is looked at now. If it changed and is good, it takes the place of what is in force; calls under way finish on that. A module that is set aside starts afresh."
        ),
        _ => format!(
            "{name} is not called any more in this proxy, until it is reloaded or its file is written again. Where it decides, weighted picks, the registered weights and the native verdicts hold. Where it is a filter, calls go on without it if its on_error is skip, and are refused otherwise."
        ),
    }
}

/// Does it.
pub(super) async fn act(running: &Running, wish: &Wish) -> Result<String, Refusal> {
    let (modules, hash) = (&running.dashboard.sources.modules, hash(wish)?);
    if wish.act == Act::Aside {
        return match modules.set_aside(&wish.module, hash) {
            true => Ok("the module was set aside".to_owned()),
            false => Err(changed(wish)),
        };
    }
    let Status { read, rejected, .. } = modules.reload(&wish.module, hash).await.ok_or_else(|| changed(wish))?;
    match read.1 {
        Outcome::Loaded => Ok("the module was loaded anew from its file".to_owned()),
        Outcome::Same => Ok("the file of the module was looked at, and is as it was".to_owned()),
        Outcome::Refused => {
            let why = rejected.unwrap_or_default();
            Err(Refusal(StatusCode::CONFLICT, format!("Its file is no good, so nothing was done: {why}")))
        }
    }
}
