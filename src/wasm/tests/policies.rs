//! Policies: what they are given, and what becomes of their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{policy, start};
use crate::registry::Instance;
use crate::table::{Endpoint, EndpointId, EndpointState, Endpoints};
use crate::wasm::fault::Fault;
use crate::wasm::policy::{EndpointList, Sample, snapshot};
use crate::wasm::vm::Vm;

fn endpoints(count: u32) -> Endpoints {
    let endpoint = |id: u32| Endpoint {
        id: EndpointId(id + 10),
        label: format!("10.0.0.{id}:80").into(),
        instance: Arc::new(Instance {
            service: "pay".into(),
            id: format!("pay-{id}"),
            address: format!("10.0.0.{id}:80").parse().unwrap(),
            weight: id * 100,
            version: "v1".into(),
            zone: "ä".into(),
            tags: vec!["blue".into()],
            protocol: None,
            tls: None,
            metadata: BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]),
        }),
        lease: 0,
        revision: 0,
        doubted: false,
        state: Arc::new(EndpointState::default()),
    };
    Endpoints::new((0..count).map(endpoint).collect())
}

/// Told `count` endpoints.
fn told(text: &str, count: u32) -> (Vm, Endpoints) {
    let (mut vm, endpoints) = (start(&policy(text), "").unwrap(), endpoints(count));
    EndpointList::new(&endpoints).tell(&mut vm, &mut 0).unwrap();
    (vm, endpoints)
}

fn pick(text: &str, tried: &[u32]) -> Result<Option<u32>, Fault> {
    told(text, 3).0.pick(7, 8, 2, tried)
}

fn picks(body: &str) -> String {
    format!("(func (export \"waypost_pick\") (param i32 i64 i64 i32) (result i32) {body})")
}

#[test]
fn the_list_is_encoded_as_the_interface_says() {
    let mut vm = told(
        &format!(
            "(global $data (mut i32) (i32.const 0)) (global $size (mut i32) (i32.const 0))
             (func (export \"waypost_endpoints\") (param i32 i32 i32)
               (i32.store (i32.const 0) (local.get 1)) (i32.store (i32.const 4) (local.get 2)))
             {}",
            picks("(i32.const 0)")
        ),
        2,
    )
    .0;
    let number = |vm: &mut Vm, at: usize| u32::from_le_bytes(vm.memory_mut()[at..at + 4].try_into().unwrap()) as usize;
    let (at, size) = (number(&mut vm, 0), number(&mut vm, 4));
    let mut expected = 2u32.to_le_bytes().to_vec();
    for id in 0..2u32 {
        for n in [id + 10, id * 100, 1_000, 0] {
            expected.extend_from_slice(&n.to_le_bytes());
        }
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        for field in [&format!("10.0.0.{id}:80"), &format!("pay-{id}"), "v1", "ä"] {
            text(&mut expected, field);
        }
        expected.extend_from_slice(&1u32.to_le_bytes());
        text(&mut expected, "blue");
        expected.extend_from_slice(&2u32.to_le_bytes());
        for field in ["a", "1", "b", "2"] {
            text(&mut expected, field);
        }
    }
    assert_eq!(vm.memory_mut()[at..at + size], expected);
}

#[test]
fn a_pick_is_an_index_or_left_to_others() {
    assert_eq!(pick(&picks("(i32.const 2)"), &[]).unwrap(), Some(2));
    assert_eq!(pick(&picks("(i32.const -1)"), &[]).unwrap(), None);
    assert_eq!(pick(&picks("(i32.wrap_i64 (i64.sub (local.get 2) (local.get 1)))"), &[]).unwrap(), Some(1));
    assert_eq!(pick(&picks("(i32.sub (local.get 3) (local.get 0))"), &[]).unwrap(), Some(1));
    // The first that was not tried, and that has less than one under way.
    let free = "(if (call $is_tried (i32.const 0)) (then (return (i32.const 1)))) (call $in_flight (i32.const 1))";
    assert_eq!(pick(&picks(free), &[0]).unwrap(), Some(1));
    let (mut vm, endpoints) = told(&picks("(call $in_flight (i32.const 1))"), 3);
    endpoints[1].state.in_flight.store(2, Ordering::Relaxed);
    assert_eq!(vm.pick(0, 0, 0, &[]).unwrap(), Some(2));
    assert_eq!(pick(&picks("(i32.add (i32.const 1) (call $in_flight (i32.const 3)))"), &[]).unwrap(), Some(0));
}

#[test]
fn an_index_that_makes_no_sense_is_an_answer_that_is_not_valid() {
    for index in [3, 1_000_000, -2, i32::MIN, i32::MAX] {
        let fault = pick(&picks(&format!("(i32.const {index})")), &[]).unwrap_err();
        assert!(fault.is_harmless() && fault.label() == "answer", "{index}: {fault}");
    }
    let fault = pick(&picks("(i32.const 1)"), &[1]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "`waypost_pick` gave an answer that is not valid: the call has been at endpoint 1 already"
    );
}

#[test]
fn a_pick_has_a_millisecond_of_its_own() {
    let start = tokio::time::Instant::now();
    let fault = pick(&picks("(loop $l (br $l)) (i32.const 0)"), &[]).unwrap_err();
    assert_eq!(fault.label(), "time");
    // Two ticks until the clock is asked, and what other programs take meanwhile.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn weights_and_verdicts_are_read_from_where_the_module_says() {
    let judge = |body: &str, health: bool| {
        let name = if health { "waypost_health" } else { "waypost_weights" };
        let text = format!("(func (export \"{name}\") (param i32 i32 i32) (result i32) {body})");
        let (mut vm, endpoints) = told(&text, 3);
        let samples = vec![Sample { calls: 7, ..Sample::default() }; 3];
        let snapshot = snapshot(&endpoints, 1_000, &samples);
        assert_eq!(snapshot.len(), 8 + 3 * 224);
        let answer = vm.judge(&snapshot, health);
        (answer, vm.reason(1))
    };
    let numbers = "(i32.store (i32.const 100) (i32.const 1)) (i32.store (i32.const 104) (i32.const 2))
        (i32.store (i32.const 108) (i32.load (i32.add (local.get 1) (i32.const 24)))) (i32.const 100)";
    assert_eq!(judge(numbers, false).0.unwrap(), Some(vec![1, 2, 7]));
    assert_eq!(judge("(i32.const 0)", true).0.unwrap(), None);
    let said = judge(&format!("(call $set_reason (i32.const 1) @\"too slow\") {numbers}"), true);
    assert_eq!((said.0.unwrap(), said.1.as_deref()), (Some(vec![1, 2, 7]), Some("too slow")));
    // 80 pages of memory, then nothing; and a place that is no multiple of four.
    for at in [80 << 16, (80 << 16) - 11, -1, i32::MIN] {
        let fault = judge(&format!("(i32.const {at})"), false).0.unwrap_err();
        assert_eq!(fault.label(), "answer", "{at}");
    }
    assert_eq!(judge("(i32.const 101)", false).0.unwrap().map(|numbers| numbers.len()), Some(3));
    // A reason for nobody, or from nowhere, is none.
    let nobody =
        "(call $set_reason (i32.const 9) @\"x\") (call $set_reason (i32.const 1) (i32.const -1) (i32.const 5))";
    assert_eq!(judge(&format!("{nobody} {numbers}"), true).1, None);
}

#[test]
fn results_are_told() {
    let text = format!(
        "{} (func (export \"waypost_result\") (param i32 i32 i32 i64)
           (i32.store (i32.const 0) (local.get 1)) (i32.store (i32.const 4) (local.get 2))
           (i64.store (i32.const 8) (local.get 3)))",
        picks("(i32.const 0)")
    );
    let mut vm = told(&text, 3).0;
    assert!(vm.kinds().results && vm.kinds().pick && !vm.kinds().filter);
    vm.result(2, -1, Duration::from_millis(3)).unwrap();
    assert_eq!(vm.memory_mut()[..16], [2, 0, 0, 0, 255, 255, 255, 255, 0xb8, 0x0b, 0, 0, 0, 0, 0, 0]);
}
