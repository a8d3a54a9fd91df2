//! A module that passes all on that it is told: whatever the host has, the test calls it from within a module.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use wasmtime::{Extern, FuncType, Store, StoreLimits, Val, ValType};

use super::{assemble, engine, environment};
use crate::telemetry::Registry;
use crate::wasm::exchange::{Exchange, Facts, Shared};
use crate::wasm::host::Host;
use crate::wasm::module::Module;
use crate::wasm::vm::Vm;

pub(super) const OK: i32 = 0;
pub(super) const NOT_FOUND: i32 = 1;
pub(super) const BAD_ARGUMENT: i32 = 2;
pub(super) const PARSE_FAILURE: i32 = 4;
pub(super) const INVALID_MEMORY: i32 = 6;
pub(super) const EMPTY: i32 = 7;
pub(super) const CAS_MISMATCH: i32 = 8;
pub(super) const INTERNAL: i32 = 10;

/// Where the host writes its results.
pub(super) const OUT: i32 = 0;
/// And where it says how long they are.
pub(super) const LEN: i32 = 4;
/// Where the first text is put.
const TEXTS: usize = 1_024;
/// The module's memory, in bytes.
pub(super) const MEMORY: i32 = 4 << 16;

pub(super) struct Guest {
    pub(super) vm: Vm,
    pub(super) shared: Arc<Shared>,
    pub(super) context: u32,
    pub(super) registry: Registry,
    free: usize,
}

/// All functions that the host has: module, name, type.
pub(super) fn functions() -> Vec<(String, String, FuncType)> {
    let engine = engine();
    let host = Host::new(0, environment().0, Bytes::new(), StoreLimits::default());
    let mut store = Store::new(&engine.engine, host);
    let all: Vec<_> = engine.linker.iter(&mut store).map(|(m, n, e)| (m.to_owned(), n.to_owned(), e)).collect();
    let function = |(module, name, found): (String, String, Extern)| {
        let kind = found.into_func().expect("a function").ty(&store);
        (module, name, kind)
    };
    all.into_iter().map(function).collect()
}

/// Imports all that there is, and exports it again as `module.name`.
pub(super) fn mirror() -> Vec<u8> {
    let mut text = String::new();
    for (module, name, kind) in functions() {
        let word = |kind: ValType| if matches!(kind, ValType::I64) { "i64 " } else { "i32 " };
        let parameters: String = kind.params().map(word).collect();
        let results: String = kind.results().map(word).collect();
        write!(
            text,
            "(import \"{module}\" \"{name}\" (func ${module}.{name} (param {parameters}) (result {results})))
             (export \"{module}.{name}\" (func ${module}.{name}))"
        )
        .unwrap();
    }
    assemble(&format!(
        "(module {text} (memory (export \"memory\") 4)
           (func (export \"proxy_abi_version_0_2_1\"))
           (global $heap (mut i32) (i32.const 131072))
           (func (export \"malloc\") (param $size i32) (result i32) (local $at i32)
             (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 262144))
               (then (global.set $heap (i32.const 131072))))
             (local.set $at (global.get $heap))
             (global.set $heap (i32.add (local.get $at) (local.get $size)))
             (local.get $at)))"
    ))
}

impl Guest {
    /// With a request on its way to a service.
    pub(super) fn new() -> Guest {
        let (env, registry) = environment();
        let module = Arc::new(Module::new(&engine(), env, &mirror()).unwrap());
        let mut vm = Vm::new(module, &Bytes::from_static(b"{\"a\": 1}")).unwrap();
        let mut exchange = Exchange::new(Facts::example());
        let request = Request::post("http://shop/buy?item=1")
            .header("x-one", "1")
            .header("x-two", "2")
            .header("x-two", "two")
            .header("user-agent", "a test");
        exchange.request = Some(request.body(()).unwrap().into_parts().0);
        let response = Response::builder().status(201).header("set-cookie", "a=b").header("set-cookie", "c=d");
        exchange.response = Some(response.body(()).unwrap().into_parts().0);
        let shared = Shared::new(exchange);
        let context = vm.open(&shared).unwrap();
        vm.enter(context);
        Guest { vm, shared, context, registry, free: TEXTS }
    }

    /// Puts a text into the module's memory: where it is, and its length.
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) -> [i32; 2] {
        let text = text.as_ref();
        let at = self.free;
        self.vm.memory_mut()[at..at + text.len()].copy_from_slice(text);
        self.free += text.len();
        [i32::try_from(at).unwrap(), i32::try_from(text.len()).unwrap()]
    }

    /// Calls a function of proxy-wasm with numbers, or whatever is given in their place.
    pub(super) fn call(&mut self, name: &str, arguments: &[i32]) -> i32 {
        let arguments: Vec<Val> = arguments.iter().map(|n| Val::I32(*n)).collect();
        self.raw(&format!("env.proxy_{name}"), &arguments)
    }

    pub(super) fn raw(&mut self, name: &str, arguments: &[Val]) -> i32 {
        self.vm.call(name, arguments).unwrap_or_else(|error| panic!("{name}: {error:#}")).unwrap().unwrap_i32()
    }

    /// The number that was written there.
    pub(super) fn number(&mut self, at: i32) -> u32 {
        let at = usize::try_from(at).unwrap();
        u32::from_le_bytes(self.vm.memory_mut()[at..at + 4].try_into().unwrap())
    }

    /// What the module was given last.
    pub(super) fn given(&mut self) -> Vec<u8> {
        let (at, len) = (self.number(OUT) as usize, self.number(LEN) as usize);
        self.vm.memory_mut()[at..at + len].to_vec()
    }

    /// Reads a header, as text.
    pub(super) fn header(&mut self, map: i32, key: &str) -> Result<String, i32> {
        let [key, len] = self.text(key);
        match self.call("get_header_map_value", &[map, key, len, OUT, LEN]) {
            0 => Ok(String::from_utf8(self.given()).unwrap()),
            status => Err(status),
        }
    }

    /// Reads a property.
    pub(super) fn property(&mut self, path: &str) -> Result<Vec<u8>, i32> {
        let [path, len] = self.text(path.replace('.', "\0"));
        match self.call("get_property", &[path, len, OUT, LEN]) {
            0 => Ok(self.given()),
            status => Err(status),
        }
    }

    pub(super) fn set_property(&mut self, path: &str, value: &str) -> i32 {
        let ([path, path_len], [value, len]) = (self.text(path.replace('.', "\0")), self.text(value));
        self.call("set_property", &[path, path_len, value, len])
    }
}
