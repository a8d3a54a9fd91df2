//! What a module exports, as far as it is called.

use wasmtime::{AsContextMut, Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::fault::Fault;
use super::host::Host;

pub(super) type Call<P, R = ()> = Option<TypedFunc<P, R>>;

/// A callback on a head: of version 0.1.0 it is not told whether a body follows.
pub(super) enum Head {
    Short(TypedFunc<(i32, i32), i32>),
    Long(TypedFunc<(i32, i32, i32), i32>),
}

/// What a module exports, as far as it is called.
pub(super) struct Exports {
    pub(super) context_create: Call<(i32, i32)>,
    pub(super) tick: Call<i32>,
    pub(super) done: Call<i32, i32>,
    pub(super) log: Call<i32>,
    pub(super) delete: Call<i32>,
    pub(super) head: [Option<Head>; 2],
    pub(super) body: [Call<(i32, i32, i32), i32>; 2],
    pub(super) trailers: [Call<(i32, i32), i32>; 2],
    pub(super) http_reply: Call<(i32, i32, i32, i32, i32)>,
    pub(super) grpc_reply: Call<(i32, i32, i32)>,
    pub(super) grpc_close: Call<(i32, i32, i32)>,
    pub(super) endpoints: Call<(i32, i32, i32)>,
    pub(super) pick: Call<(i32, i64, i64, i32), i32>,
    pub(super) result: Call<(i32, i32, i32, i64)>,
    pub(super) weights: Call<(i32, i32, i32), i32>,
    pub(super) health: Call<(i32, i32, i32), i32>,
}

/// An export of that type; none if there is none of that name.
pub(super) fn export<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &'static str,
) -> Result<Call<P, R>, Fault> {
    let Some(function) = instance.get_func(store.as_context_mut(), name) else { return Ok(None) };
    function.typed(store).map(Some).map_err(|error| Fault::Export(name, error.root_cause().to_string()))
}

impl Exports {
    pub(super) fn of(instance: &Instance, store: &mut Store<Host>) -> Result<Exports, Fault> {
        let mut head = |name| {
            let long = export(instance, store, name);
            match long {
                Ok(long) => Ok(long.map(Head::Long)),
                Err(fault) => export(instance, store, name).map(|short| short.map(Head::Short)).map_err(|_| fault),
            }
        };
        let head = [head("proxy_on_request_headers")?, head("proxy_on_response_headers")?];
        Ok(Exports {
            context_create: export(instance, store, "proxy_on_context_create")?,
            tick: export(instance, store, "proxy_on_tick")?,
            done: export(instance, store, "proxy_on_done")?,
            log: export(instance, store, "proxy_on_log")?,
            delete: export(instance, store, "proxy_on_delete")?,
            head,
            body: [
                export(instance, store, "proxy_on_request_body")?,
                export(instance, store, "proxy_on_response_body")?,
            ],
            trailers: [
                export(instance, store, "proxy_on_request_trailers")?,
                export(instance, store, "proxy_on_response_trailers")?,
            ],
            http_reply: export(instance, store, "proxy_on_http_call_response")?,
            grpc_reply: export(instance, store, "proxy_on_grpc_receive")?,
            grpc_close: export(instance, store, "proxy_on_grpc_close")?,
            endpoints: export(instance, store, "waypost_endpoints")?,
            pick: export(instance, store, "waypost_pick")?,
            result: export(instance, store, "waypost_result")?,
            weights: export(instance, store, "waypost_weights")?,
            health: export(instance, store, "waypost_health")?,
        })
    }
}
