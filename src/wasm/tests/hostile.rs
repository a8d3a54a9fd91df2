//! Modules that mean harm, or are broken as badly as if they did.

use std::sync::Arc;
use std::time::Duration;

use super::{assemble, bind, filter, load, policy, resident, start};
use crate::wasm::abi::encode_pairs;
use crate::wasm::bound::Live;
use crate::wasm::exchange::{Direction, Exchange, Facts, Shared};
use crate::wasm::fault::Fault;
use crate::wasm::module::LoadError;
use crate::wasm::vm::Vm;

/// The callbacks of an exchange and how each is reached, with its parameters and results.
const CALLBACKS: [(&str, &str); 12] = [
    ("proxy_on_context_create", "(param i32 i32)"),
    ("proxy_on_request_headers", "(param i32 i32 i32) (result i32)"),
    ("proxy_on_request_body", "(param i32 i32 i32) (result i32)"),
    ("proxy_on_request_trailers", "(param i32 i32) (result i32)"),
    ("proxy_on_response_headers", "(param i32 i32 i32) (result i32)"),
    ("proxy_on_response_body", "(param i32 i32 i32) (result i32)"),
    ("proxy_on_response_trailers", "(param i32 i32) (result i32)"),
    ("proxy_on_done", "(param i32) (result i32)"),
    ("proxy_on_log", "(param i32)"),
    ("proxy_on_delete", "(param i32)"),
    ("proxy_on_tick", "(param i32)"),
    ("proxy_on_http_call_response", "(param i32 i32 i32 i32 i32)"),
];

fn shared() -> Arc<Shared> {
    let mut exchange = Exchange::new(Facts::example());
    exchange.request = Some(http::Request::new(()).into_parts().0);
    exchange.response = Some(http::Response::new(()).into_parts().0);
    (exchange.request_trailers, exchange.response_trailers) = (Some(Default::default()), Some(Default::default()));
    Shared::new(exchange)
}

/// All that happens to a module in the course of an exchange.
fn whole_life(vm: &mut Vm) -> Result<(), Fault> {
    let context = vm.open(&shared())?;
    for direction in [Direction::Request, Direction::Response] {
        vm.head(context, direction, false)?;
        vm.body(context, direction, 0, true)?;
        vm.trailers(context, direction)?;
    }
    let callouts = vm.callouts();
    for callout in &callouts {
        vm.reply(callout, None)?;
    }
    vm.tick()?;
    vm.close(context)
}

/// A filter that makes a call in the first callback, and does something in one of them.
fn doing(callback: &str, kind: &str, what: &str) -> Vec<u8> {
    let pairs: String = encode_pairs(&[(&b":method"[..], &b"GET"[..]), (b":path", b"/")])
        .iter()
        .map(|b| format!("\\{b:02x}"))
        .collect();
    let call = format!(
        "(drop (call $http_call @\"greeter\" @\"{pairs}\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
         (i32.const 1000) (i32.const 8)))"
    );
    let result = if kind.contains("result") { "(i32.const 0)" } else { "" };
    let begin = match callback {
        "proxy_on_request_headers" => String::new(),
        _ => format!(
            "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) {call} (i32.const 0))"
        ),
    };
    // Only the second context is harmed where the root has it as well.
    let guard = if callback == "proxy_on_context_create" {
        "(if (i32.eq (local.get 0) (i32.const 1)) (then (return)))"
    } else {
        ""
    };
    filter(&format!("{begin} (func (export \"{callback}\") {kind} {guard} {what} {result})"))
}

#[test]
fn an_endless_loop_ends_in_each_callback() {
    for (callback, kind) in CALLBACKS {
        let mut vm = start(&doing(callback, kind, "(loop $l (br $l))"), "").unwrap();
        let begin = tokio::time::Instant::now();
        let fault = whole_life(&mut vm).unwrap_err();
        assert_eq!(fault.to_string(), format!("`{callback}` took more processor time than it may"));
        assert!(begin.elapsed() < Duration::from_secs(5), "{callback}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_trap_is_an_error_in_each_callback() {
    for (callback, kind) in CALLBACKS {
        let mut vm = start(&doing(callback, kind, "unreachable"), "").unwrap();
        let fault = whole_life(&mut vm).unwrap_err();
        assert_eq!(fault.label(), "trap", "{callback}");
        assert!(fault.to_string().contains(callback), "{fault}");
    }
}

#[test]
fn ways_to_trap_are_all_the_same() {
    for (what, expected) in [
        ("(drop (i32.load (i32.const -1)))", "out of bounds"),
        ("(i32.store (i32.const 5242879) (i32.const 1))", "out of bounds"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(call $deep)", "stack"),
    ] {
        let deep = "(func $deep (call $deep))";
        let callback = "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)";
        let mut vm = start(&filter(&format!("{deep} {callback} {what} (i32.const 0))")), "").unwrap();
        let fault = whole_life(&mut vm).unwrap_err();
        assert_eq!(fault.label(), "trap");
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[test]
fn misaligned_places_are_served_and_such_outside_are_refused() {
    // Both results to odd places, and then to where there is no memory: a status, not a trap.
    let read =
        |at: i32, len: i32| format!("(call $map_get (i32.const 0) @\":path\" (i32.const {at}) (i32.const {len}))");
    for (at, len, expected) in [(1, 7, 0), (5_242_877, 0, 6), (-1, 0, 6), (0, i32::MIN, 6)] {
        let text = format!(
            "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) {})",
            format_args!("(if (i32.ne {} (i32.const {expected})) (then unreachable)) (i32.const 0)", read(at, len))
        );
        whole_life(&mut start(&filter(&text), "").unwrap()).unwrap_or_else(|fault| panic!("{at} {len}: {fault}"));
    }
}

/// A filter with an allocator of its own that reads a header twice in one call; traps unless the status is the expected
/// one. Gives what was counted of it.
fn allocating(allocator: &str, expected: i32) -> Result<u64, Fault> {
    let text = format!(
        "(module
           (import \"env\" \"proxy_get_header_map_value\" (func $get (param i32 i32 i32 i32 i32) (result i32)))
           (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_0\")) {allocator}
           (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
             (drop (call $get (i32.const 0) @\":path\" (i32.const 0) (i32.const 4)))
             (if (i32.ne (call $get (i32.const 0) @\":path\" (i32.const 0) (i32.const 4)) (i32.const {expected}))
               (then unreachable))
             (i32.const 0)))"
    );
    let mut vm = start(&assemble(&text), "").unwrap();
    whole_life(&mut vm)?;
    let failures = vm.module().failures();
    if let Some((_, last)) = failures.last {
        assert_eq!(last, "its allocator gave no room for 1 bytes that it asked for in `proxy_on_request_headers`");
    }
    Ok(failures.count)
}

#[test]
fn allocators_that_fail_or_lie_harm_nobody() {
    let malloc = |body: &str| format!("(func $malloc (export \"malloc\") (param i32) (result i32) {body})");
    assert_eq!(allocating(&malloc("(i32.const 100)"), 0).unwrap(), 0);
    for useless in ["(i32.const 0)", "(i32.const 65536)", "(i32.const -1)"] {
        assert_eq!(allocating(&malloc(useless), 6).unwrap(), 1, "{useless}");
    }
    assert_eq!(allocating("", 6).unwrap(), 1);
    let renamed = malloc("(i32.const 100)").replace("\"malloc\"", "\"proxy_on_memory_allocate\"");
    assert_eq!(allocating(&renamed, 0).unwrap(), 0);
    // One that traps, or ends, takes the whole call with it.
    assert_eq!(allocating(&malloc("unreachable"), 6).unwrap_err().label(), "trap");
    assert_eq!(allocating(&malloc("(loop $l (br $l)) (i32.const 0)"), 6).unwrap_err().label(), "time");
    // One that asks the host for something that needs it again.
    let again =
        "(drop (call $get (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 0) (i32.const 4))) (i32.const 100)";
    assert_eq!(allocating(&malloc(again), 0).unwrap_err().label(), "trap");
    let wrong = "(func (export \"malloc\") (param i64) (result i32) (i32.const 0))";
    let text = format!("(module (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\")) {wrong})");
    let fault = start(&assemble(&text), "").err().unwrap();
    assert!(fault.to_string().starts_with("its export `malloc` is not as it must be"), "{fault}");
}

#[test]
fn an_allocator_that_gives_no_room_to_a_policy_is_a_fault() {
    for place in ["(i32.const 0)", "(i32.const -4)"] {
        let text = format!(
            "(module (memory (export \"memory\") 1) (func (export \"waypost_policy_abi_1\"))
               (func (export \"malloc\") (param i32) (result i32) {place})
               (func (export \"waypost_endpoints\") (param i32 i32 i32))
               (func (export \"waypost_pick\") (param i32 i64 i64 i32) (result i32) (i32.const 0)))"
        );
        let mut vm = start(&assemble(&text), "").unwrap();
        assert_eq!(vm.endpoints(&[0; 4], Vec::new()).unwrap_err().label(), "allocator");
    }
}

#[test]
fn memory_ends_at_its_limit() {
    // The limit of the tests is 16 MiB: 256 pages.
    let grow = "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
        (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 0))";
    let mut vm = start(&filter(grow), "").unwrap();
    whole_life(&mut vm).unwrap();
    assert_eq!(vm.memory(), 16 << 20);
    // More than that from the beginning, or tables without end.
    for (what, expected) in [
        (
            "(memory (export \"memory\") 300)",
            "memory minimum size of 300 pages exceeds memory limits; raise wasm.memory_limit",
        ),
        (
            "(memory (export \"memory\") 1) (table 1000000 funcref)",
            "table minimum size of 1000000 elements exceeds table limits",
        ),
    ] {
        let text = format!("(module {what} (func (export \"proxy_abi_version_0_2_1\")))");
        let fault = start(&assemble(&text), "").err().unwrap();
        assert_eq!(fault.to_string(), format!("it needs more than it may have: {expected}"));
        assert_eq!(fault.label(), "limit");
    }
}

#[test]
fn files_that_are_no_good_are_refused_with_the_reason() {
    let mark = "(func (export \"proxy_abi_version_0_2_1\"))";
    let memory = "(memory (export \"memory\") 1)";
    for (text, expected) in [
        (format!("(module {mark})"), "it exports no memory named `memory`"),
        (format!("(module {memory})"), "it has no mark that says what it is for"),
        (
            format!("(module {memory} (func (export \"waypost_policy_abi_1\")))"),
            "it says that it is a policy, and exports none of `waypost_pick`",
        ),
        (format!("(module {memory} (func (export \"waypost_policy_abi_2\")))"), "it has no mark"),
        (
            format!("(module (import \"env\" \"proxy_fly\" (func)) {memory} {mark})"),
            "it imports what there is not: unknown import: `env::proxy_fly`",
        ),
        (
            format!("(module (import \"env\" \"proxy_log\" (func (param i64))) {memory} {mark})"),
            "it imports what there is not: incompatible import type for `env::proxy_log`",
        ),
    ] {
        let error = load(&assemble(&text)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let good = filter("");
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh", &good[..good.len() / 2]] {
        let error = load(bytes).unwrap_err().to_string();
        assert!(error.starts_with("it is no WebAssembly module that can be used here"), "{error}");
    }
    let large = vec![0; 50 << 20];
    assert!(matches!(load(&large).unwrap_err(), LoadError::TooLarge(size) if size == 50 << 20));
}

#[test]
fn a_module_that_refuses_or_never_ends_its_start_is_not_used() {
    let answer =
        |name: &str, n: i32| format!("(func (export \"{name}\") (param i32 i32) (result i32) (i32.const {n}))");
    for name in ["proxy_on_vm_start", "proxy_on_configure"] {
        assert!(start(&filter(&answer(name, 1)), "").is_ok());
        let fault = start(&filter(&answer(name, 0)), "").err().unwrap();
        assert_eq!(fault.to_string(), format!("`{name}` answered that it refuses; its log may say why"));
    }
    let exit = |code: i32| {
        format!(
            "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
               (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\"))
               (func (export \"_start\") (call $exit (i32.const {code}))))"
        )
    };
    assert!(start(&assemble(&exit(0)), "").is_ok(), "a program that has ended well");
    let fault = start(&assemble(&exit(3)), "").err().unwrap();
    assert_eq!(fault.to_string(), "`_start`: it ended itself with exit code 3");
    let begin = tokio::time::Instant::now();
    let endless = "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (loop $l (br $l)) (i32.const 1))";
    assert_eq!(start(&filter(endless), "").err().unwrap().label(), "time");
    assert!(begin.elapsed() >= Duration::from_secs(4), "it has five seconds: {:?}", begin.elapsed());
    let wrong = "(func (export \"proxy_on_configure\") (param i32) (result i32) (i32.const 1))";
    assert_eq!(start(&filter(wrong), "").err().unwrap().label(), "export");
}

#[test]
fn exchanges_that_are_never_done_are_forgotten_in_the_end() {
    let never = "(func (export \"proxy_on_done\") (param i32) (result i32) (i32.const 0))
        (func (export \"proxy_on_delete\") (param i32) (call $count @\"deleted\"))";
    let mut vm = start(&filter(never), "").unwrap();
    for _ in 0..3_000 {
        let context = vm.open(&shared()).unwrap();
        vm.close(context).unwrap();
    }
    assert_eq!(vm.host().contexts.len(), 1_000);
}

#[test]
fn a_hundred_thousand_hostile_calls_cost_no_memory() {
    let odd = "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
          (call $set (i32.const 0) @\"x-a\" (i32.const 65536) (i32.const 60000))
          (drop (call $shared_set (i32.const 65536) (i32.const 1000) (i32.const 65536) (i32.const 60000) (i32.const 0)))
          (drop (call $property_set (local.get 0) (i32.const 1000) (i32.const 65536) (i32.const 60000)))
          (drop (call $foreign (i32.const -1) (i32.const 9) (i32.const 5) (i32.const -1) (i32.const -1) (i32.const 7)))
          (drop (call $proxy_done)) (drop (call $tick_every (i32.const 1)))
          (drop (call $metric_define (i32.const 2) (i32.const 1000) (i32.const 10) (i32.const 8)))
          (i32.const 1))
        (func (export \"proxy_on_done\") (param i32) (result i32) (i32.const 0))";
    let trap = "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) unreachable)";
    let mut odd = start(&filter(odd), "").unwrap();
    let module = load(&filter(trap)).unwrap();
    let mut life = |n: u32| {
        let context = odd.open(&shared()).unwrap();
        odd.head(context, Direction::Request, true).unwrap();
        odd.close(context).unwrap();
        if n.is_multiple_of(10) {
            // An instance is dropped after each trap.
            let mut vm = Vm::new(module.clone(), &bytes::Bytes::new()).unwrap();
            let context = vm.open(&shared()).unwrap();
            vm.head(context, Direction::Request, true).unwrap_err();
        }
    };
    (0..5_000).for_each(&mut life);
    let before = resident();
    (0..100_000).for_each(&mut life);
    let grown = resident().saturating_sub(before);
    assert!(grown <= 10 << 20, "{grown} bytes more after 100,000 calls");
}

#[test]
fn a_pick_that_loops_harms_one_call_only() {
    let text = "(func (export \"waypost_pick\") (param i32 i64 i64 i32) (result i32)
        (if (i64.eqz (local.get 1)) (then (loop $l (br $l)))) (i32.const -1))";
    let mut live = Live::new(bind(&policy(text), 1));
    let vm = live.vm().unwrap();
    let fault = vm.pick(0, 0, 0, &[]).unwrap_err();
    live.failed(&fault);
    assert!(live.vm().is_none(), "the instance is gone");
    super::until("another one", || live.vm().is_some());
    assert_eq!(live.vm().unwrap().pick(1, 0, 0, &[]).unwrap(), None);
}
