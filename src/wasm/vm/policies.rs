//! What policies are asked.

use std::sync::Arc;
use std::time::Duration;

use super::{ROOT, Vm, enter};
use crate::table::EndpointState;
use crate::wasm::engine::Budget;
use crate::wasm::fault::Fault;

impl Vm {
    /// Gives it the endpoints, encoded.
    pub(in crate::wasm) fn endpoints(&mut self, data: &[u8], states: Vec<Arc<EndpointState>>) -> Result<(), Fault> {
        self.store.data_mut().endpoints = states;
        let Some(endpoints) = self.exports.endpoints.clone() else { return Ok(()) };
        self.in_context(ROOT);
        let (at, len) = self.put(data)?;
        self.run("waypost_endpoints", &endpoints, (ROOT as i32, at, len), Budget::CALLBACK)
    }

    /// Asks it for an endpoint; `None` if it leaves that to others.
    pub fn pick(&mut self, hash: u64, random: u64, attempt: u32, tried: &[u32]) -> Result<Option<u32>, Fault> {
        const NAME: &str = "waypost_pick";
        let Some(pick) = &self.exports.pick else { return Ok(None) };
        let host = self.store.data_mut();
        host.tried.clear();
        host.tried.extend_from_slice(tried);
        let arguments = (ROOT as i32, hash as i64, random as i64, attempt as i32);
        let index = enter(&mut self.store, &mut self.meter, NAME, pick, arguments, Budget::PICK)?;
        let wrong = |why: String| Err(Fault::Answer { callback: NAME, why });
        match u32::try_from(index) {
            Ok(index) if tried.contains(&index) => wrong(format!("the call has been at endpoint {index} already")),
            Ok(index) if (index as usize) < self.store.data().endpoints.len() => Ok(Some(index)),
            Err(_) if index == -1 => Ok(None),
            _ => wrong(format!("there is no endpoint {index}")),
        }
    }

    /// Tells it how a call ended.
    pub fn result(&mut self, index: u32, status: i32, took: Duration) -> Result<(), Fault> {
        let Some(result) = self.exports.result.clone() else { return Ok(()) };
        let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        self.run("waypost_result", &result, (ROOT as i32, index as i32, status, micros), Budget::PICK)
    }

    /// Asks it for a number for each endpoint: weights, or verdicts.
    pub fn judge(&mut self, snapshot: &[u8], health: bool) -> Result<Option<Vec<u32>>, Fault> {
        let name = if health { "waypost_health" } else { "waypost_weights" };
        let function = if health { &self.exports.health } else { &self.exports.weights };
        let Some(function) = function.clone() else { return Ok(None) };
        self.store.data_mut().reasons.clear();
        self.in_context(ROOT);
        let (at, len) = self.put(snapshot)?;
        let answer = self.run(name, &function, (ROOT as i32, at, len), Budget::CALLBACK)?;
        if answer == 0 {
            return Ok(None);
        }
        let count = self.store.data().endpoints.len();
        let memory = self.store.data().memory.map(|memory| memory.data(&self.store));
        let start = answer as u32 as usize;
        let bytes = memory.and_then(|memory| memory.get(start..start.saturating_add(count * 4)));
        let wrong =
            || Fault::Answer { callback: name, why: format!("{count} numbers at {start} are not in its memory") };
        let numbers = bytes.ok_or_else(wrong)?.chunks_exact(4);
        Ok(Some(numbers.map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]])).collect()))
    }

    /// Why it judged an endpoint as it did.
    pub fn reason(&mut self, index: u32) -> Option<String> {
        self.store.data_mut().reasons.remove(&index)
    }
}
