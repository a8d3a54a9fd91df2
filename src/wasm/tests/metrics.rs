//! Metrics that modules define.

use wasmtime::Val;

use super::guest::{BAD_ARGUMENT, Guest, NOT_FOUND, OK, OUT};

fn metric(guest: &mut Guest, kind: i32, name: &str) -> i32 {
    let [at, len] = guest.text(name);
    match guest.call("define_metric", &[kind, at, len, OUT]) {
        OK => guest.number(OUT).cast_signed(),
        status => -status,
    }
}

fn measure(guest: &mut Guest, how: &str, id: i32, value: i64) -> i32 {
    guest.raw(&format!("env.proxy_{how}_metric"), &[Val::I32(id), Val::I64(value)])
}

#[test]
fn metrics_are_defined_and_counted() {
    let mut guest = Guest::new();
    let (counter, gauge) = (metric(&mut guest, 0, "requests"), metric(&mut guest, 1, "depth"));
    let histogram = metric(&mut guest, 2, "size");
    assert_eq!(metric(&mut guest, 0, "requests"), counter);
    assert_eq!(measure(&mut guest, "increment", counter, 3), OK);
    assert_eq!(measure(&mut guest, "increment", counter, -1), BAD_ARGUMENT);
    assert_eq!(measure(&mut guest, "record", gauge, 7), OK);
    assert_eq!(measure(&mut guest, "increment", gauge, -2), OK);
    assert_eq!(measure(&mut guest, "record", histogram, 100), OK);
    for (id, expected) in [(counter, 3), (gauge, 5), (histogram, 1)] {
        assert_eq!(guest.call("get_metric", &[id, OUT]), OK);
        assert_eq!(guest.number(OUT), expected);
    }
    assert_eq!(guest.call("get_metric", &[999, OUT]), NOT_FOUND);
    assert_eq!(measure(&mut guest, "record", 0, 1), NOT_FOUND);
    assert_eq!(metric(&mut guest, 9, "x"), -BAD_ARGUMENT);
    let page = guest.registry.encode();
    assert!(page.contains("waypost_guest_requests_total{module=\"tested\"} 3"), "{page}");
    assert!(page.contains("waypost_guest_depth{module=\"tested\"} 5"), "{page}");
    assert!(page.contains("waypost_guest_size_count{module=\"tested\"} 1"), "{page}");
}

#[test]
fn no_name_of_a_metric_breaks_the_page() {
    let mut guest = Guest::new();
    let names = ["a\nwaypost_up 1", "a b", "a\"{}", "a\\n", "ä", "a_total", "a", "a_bucket", "a_count", "a_sum"];
    for name in names {
        for kind in 0..3 {
            let id = metric(&mut guest, kind, name);
            assert!(id > 0, "{name:?} {kind}: {id}");
            measure(&mut guest, "record", id, 1);
        }
    }
    let page = guest.registry.encode();
    assert!(!page.lines().any(|line| line.starts_with("waypost_up")), "{page}");
    let mut seen = std::collections::HashSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert(series), "{series} is there twice");
    }
    assert_eq!(metric(&mut guest, 0, &"x".repeat(300)), -BAD_ARGUMENT);
    assert_eq!(metric(&mut guest, 0, ""), -BAD_ARGUMENT);
}
