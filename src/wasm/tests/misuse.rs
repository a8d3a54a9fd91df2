//! Every function that there is, with every kind of bad argument.

use wasmtime::{Val, ValType};

use super::guest::{Guest, MEMORY, functions};

/// Numbers that a module may give by mistake or in malice.
const NUMBERS: [i32; 18] = [
    0,
    1,
    2,
    3,
    7,
    8,
    1_023,
    1_024,
    65_535,
    MEMORY - 8,
    MEMORY - 3,
    MEMORY - 1,
    MEMORY,
    MEMORY + 1,
    i32::MAX,
    i32::MIN,
    -8,
    -1,
];

#[test]
fn nothing_that_a_module_says_harms_the_host() {
    let mut random = fastrand::Rng::with_seed(7);
    let functions = functions();
    assert!(functions.len() > 100, "{}", functions.len());
    let mut guest = Guest::new();
    for round in 0..1_500 {
        for (module, name, kind) in &functions {
            let arguments: Vec<Val> = kind
                .params()
                .map(|kind| match kind {
                    ValType::I64 => Val::I64(random.i64(..) >> random.u32(0..64)),
                    _ => Val::I32(*random.choice(&NUMBERS).unwrap()),
                })
                .collect();
            let ended = guest.vm.call(&format!("{module}.{name}"), &arguments);
            let may_end = name == "proc_exit" || name == "proc_raise";
            assert_eq!(ended.is_err(), may_end, "round {round}: {module}.{name}({arguments:?}): {ended:?}");
        }
        // What a worker does after each callback.
        drop(guest.vm.callouts());
        guest.vm.enter(guest.context);
        let mut exchange = guest.shared.lock();
        if exchange.closed || exchange.local.is_some() {
            (exchange.closed, exchange.local) = (false, None);
        }
    }
}

#[test]
fn no_single_call_takes_long() {
    let mut guest = Guest::new();
    // A vector for output that names the whole memory, as often as one can.
    for at in (0..MEMORY / 2).step_by(8) {
        let at = usize::try_from(at).unwrap();
        guest.vm.memory_mut()[at..at + 8].copy_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0]);
    }
    let start = tokio::time::Instant::now();
    for _ in 0..10 {
        let arguments = [1, 0, MEMORY / 16, 0].map(Val::I32);
        assert_ne!(guest.raw("wasi_snapshot_preview1.fd_write", &arguments), 0, "so many at once are refused");
        guest.raw("wasi_snapshot_preview1.random_get", &[Val::I32(0), Val::I32(MEMORY)]);
    }
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
}
