use waypost_policy::testing::{Bench, endpoint, example, load};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Endpoints with these identities.
fn endpoints(ids: &[u32]) -> Vec<Endpoint> {
    ids.iter().map(|id| Endpoint { id: *id, ..endpoint(&format!("10.0.0.{id}:80")) }).collect()
}

fn bench(config: &str) -> Bench<StatusHealth> {
    let mut bench = Bench::new(config).unwrap();
    bench.endpoints(&endpoints(&[0, 1, 2, 3]));
    bench
}

/// Calls of a second, of which some ended with this gRPC status.
fn calls(calls: u64, failed: u64, status: usize) -> Load {
    let mut load = load(calls, Duration::from_millis(10));
    load.grpc[0] -= failed;
    load.grpc[status] += failed;
    load
}

/// The endpoints that are unhealthy after a second in which they did this.
fn tick(bench: &mut Bench<StatusHealth>, loads: Vec<Load>) -> Vec<(usize, String)> {
    let loads = (0..).zip(loads).map(|(id, load)| Load { id, ..load }).collect();
    let verdicts = bench.health(&Snapshot { elapsed: SECOND, loads }).unwrap();
    let unhealthy = verdicts.into_iter().enumerate().filter_map(|(index, verdict)| match verdict {
        Verdict::Unhealthy(reason) => Some((index, reason)),
        Verdict::NoOpinion => None,
        Verdict::Healthy => panic!("the native verdict is never overruled for the better"),
    });
    unhealthy.collect()
}

/// Whether the first endpoint is unhealthy if it does this and all others do well.
fn is_out(bench: &mut Bench<StatusHealth>, load: Load) -> bool {
    let fine = || calls(100, 0, 0);
    let out = tick(bench, vec![load, fine(), fine(), fine()]);
    assert!(out.iter().all(|(index, _)| *index == 0), "{out:?}");
    !out.is_empty()
}

#[test]
fn an_endpoint_that_fails_is_taken_out_with_the_reason() {
    let mut bench = bench("");
    let fine = || calls(100, 0, 0);
    assert_eq!(tick(&mut bench, vec![fine(), calls(100, 49, 14), fine(), fine()]), []);
    // With those before: 51 more make 100 of 200.
    let out = tick(&mut bench, vec![fine(), calls(100, 51, 14), fine(), fine()]);
    assert_eq!(out, [(1, "100 of 200 calls failed; out for 30 s".to_owned())]);
}

#[test]
fn only_failures_of_the_endpoint_count() {
    for (status, is_failure) in [(0, false), (3, false), (5, false), (2, true), (13, true), (14, true), (17, false)] {
        assert_eq!(is_out(&mut bench(""), calls(100, 100, status)), is_failure, "{status}");
    }
    assert!(is_out(&mut bench(r#"{"statuses": ["NOT_FOUND"]}"#), calls(100, 100, 5)));
    assert!(!is_out(&mut bench(r#"{"statuses": ["NOT_FOUND"]}"#), calls(100, 100, 14)));
    for (class, is_failure) in [(1, false), (3, false), (4, true), (5, true)] {
        let mut load = Load { calls: 100, ..Load::default() };
        load.http[class] = 100;
        assert_eq!(is_out(&mut bench(""), load), is_failure, "class {class}");
    }
}

#[test]
fn a_few_calls_say_nothing() {
    let mut bench = bench("");
    assert!(!is_out(&mut bench, calls(19, 19, 14)));
    assert!(is_out(&mut bench, calls(1, 1, 14)), "20 within the window");
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut bench = bench(r#"{"window": "3s"}"#);
    assert!(!is_out(&mut bench, calls(19, 19, 14)));
    for _ in 0..3 {
        assert!(!is_out(&mut bench, calls(0, 0, 0)));
    }
    assert!(!is_out(&mut bench, calls(1, 1, 14)));
}

#[test]
fn slow_is_unhealthy_if_so_configured() {
    let slow = || load(20, Duration::from_millis(501));
    assert!(!is_out(&mut bench(""), slow()));
    let mut bench = bench(r#"{"max_latency": "500ms"}"#);
    let out = tick(&mut bench, vec![slow(), load(20, Duration::from_millis(500)), Load::default(), Load::default()]);
    assert_eq!(out, [(0, "calls took 501 ms on average, 500 are allowed; out for 30 s".to_owned())]);
}

#[test]
fn an_endpoint_comes_back_and_is_out_for_longer_the_next_time() {
    let mut bench = bench(r#"{"ejection": "3s", "max_ejection": "7s"}"#);
    let mut seconds_out = || {
        assert!(is_out(&mut bench, calls(100, 100, 14)));
        // Calls that end meanwhile do not count against it later.
        (1..100).find(|_| !is_out(&mut bench, calls(50, 50, 14))).unwrap()
    };
    assert_eq!((seconds_out(), seconds_out(), seconds_out(), seconds_out()), (3, 6, 7, 7));
    for _ in 0..3 {
        assert!(!is_out(&mut bench, calls(100, 0, 0)));
    }
    assert_eq!(bench.policy().watched[&0].times, 0, "three good seconds");
}

#[test]
fn only_some_are_taken_out_the_worst_first() {
    let mut bench = bench("");
    let all = || vec![calls(100, 60, 14), calls(100, 90, 14), calls(100, 70, 14), calls(100, 80, 14)];
    let places = |out: Vec<(usize, String)>| out.into_iter().map(|(index, _)| index).collect::<Vec<_>>();
    assert_eq!(places(tick(&mut bench, all())), [1, 3]);
    assert_eq!(places(tick(&mut bench, all())), [1, 3], "no more, as long as these are out");
    let mut bench = Bench::<StatusHealth>::new("").unwrap();
    bench.endpoints(&endpoints(&[0]));
    assert_eq!(tick(&mut bench, vec![calls(100, 100, 14)]), [], "half of one is none");
}

#[test]
fn a_change_of_the_list_keeps_what_is_known() {
    let mut bench = bench("");
    assert!(is_out(&mut bench, calls(100, 100, 14)));
    bench.endpoints(&endpoints(&[7, 0]));
    let loads = [7, 0].map(|id| Load { id, ..Load::default() }).to_vec();
    let verdicts = bench.health(&Snapshot { elapsed: SECOND, loads }).unwrap();
    assert!(verdicts[0] == Verdict::NoOpinion && matches!(verdicts[1], Verdict::Unhealthy(_)), "{verdicts:?}");
}

#[test]
fn the_example_in_the_readme_is_accepted() {
    assert_eq!(Bench::<StatusHealth>::new(example(include_str!("../README.md"))).err(), None);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let cases = [
        (r#"{"statuses": ["BUSY"]}"#, "statuses: \"BUSY\" is no failure that gRPC knows"),
        (r#"{"statuses": ["OK"]}"#, "statuses: \"OK\" is no failure that gRPC knows"),
        (r#"{"max_failed": 0}"#, "max_failed: must be from 1 to 100, is 0"),
        (r#"{"min_calls": 0}"#, "min_calls: must be from 1"),
        (r#"{"window": "100ms"}"#, "window (in seconds): must be from 1 to 3600, is 0.1"),
        (r#"{"ejection": "10m"}"#, "max_ejection: must not be shorter than ejection"),
        (r#"{"max_latency": "0s"}"#, "max_latency: must not be 0"),
        (r#"{"max_latency": "fast"}"#, "`fast` is no duration"),
        (r#"{"max_ejected": 101}"#, "max_ejected: must be from 0 to 100, is 101"),
    ];
    for (config, reason) in cases {
        let refusal = Bench::<StatusHealth>::new(config).err().unwrap_or_default();
        assert!(refusal.contains(reason), "{config}: {refusal}");
    }
}
