use waypost_policy::testing::{Bench, endpoint, example, host};

use super::*;

fn many(count: usize) -> Vec<Endpoint> {
    (0..count).map(|n| endpoint(&format!("10.0.{}.{}:80", n / 250, n % 250))).collect()
}

fn bench(config: &str, endpoints: &[Endpoint]) -> Bench<BoundedHash> {
    let mut bench = Bench::new(config).unwrap();
    bench.endpoints(endpoints);
    bench
}

fn call(key: u64) -> Call {
    Call { hash: Some(another(key)), ..Call::default() }
}

/// The addresses that a thousand keys go to.
fn homes(endpoints: &[Endpoint]) -> Vec<String> {
    let mut bench = bench("", endpoints);
    (0..1000).map(|key| endpoints[bench.pick(&call(key)).unwrap()].address.clone()).collect()
}

/// How many of these keys each endpoint has.
fn counts(endpoints: &[Endpoint], homes: &[String]) -> Vec<usize> {
    endpoints.iter().map(|endpoint| homes.iter().filter(|home| **home == endpoint.address).count()).collect()
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_in_any_order() {
    let endpoints = many(10);
    let reversed: Vec<_> = endpoints.iter().rev().cloned().collect();
    assert_eq!(homes(&endpoints), homes(&reversed));
}

#[test]
fn keys_are_spread_by_weight() {
    let mut endpoints = many(4);
    endpoints[3].weight = 3;
    let counts = counts(&endpoints, &homes(&endpoints));
    assert!(counts[..3].iter().all(|count| (80..260).contains(count)), "{counts:?}");
    assert!((380..620).contains(&counts[3]), "{counts:?}");
}

#[test]
fn only_keys_of_what_came_or_left_move() {
    let (before, after) = (homes(&many(10)), homes(&many(11)));
    let new = &many(11)[10].address;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    assert!(moved.iter().all(|(_, to)| *to == new), "keys move to the new endpoint only");
    // A tenth or so.
    assert!((40..180).contains(&moved.len()), "{}", moved.len());
}

#[test]
fn keys_of_an_ill_endpoint_are_spread_and_come_back() {
    let well = many(5);
    let mut ill = well.clone();
    ill[2].share = 0;
    let (before, during) = (homes(&well), homes(&ill));
    for (old, new) in before.iter().zip(&during) {
        assert!(if *old == well[2].address { new != old } else { new == old });
    }
    let (owners, heirs) = (counts(&well, &before), counts(&well, &during));
    assert!(heirs[2] == 0 && [0, 1, 3, 4].iter().all(|heir| heirs[*heir] > owners[*heir]));
    ill[2] = Endpoint { flags: Endpoint::UNREACHABLE, ..well[2].clone() };
    assert_eq!(homes(&ill), during);
}

#[test]
fn an_endpoint_above_its_bound_passes_calls_on() {
    let endpoints = many(4);
    let mut bench = bench(r#"{"bound": 1.5}"#, &endpoints);
    let home = bench.pick(&call(7)).unwrap();
    let mut with = |loads: [u32; 4]| {
        host(|host| host.in_flight = loads.to_vec());
        bench.pick(&call(7)).unwrap()
    };
    // 40 and this one are under way: 1.5 × 41 / 4 is 15.4, so 15 leave room and 16 do not.
    let loads = |at_home: u32| {
        let mut loads = [0; 4];
        loads[home] = at_home;
        loads[(home + 1) % 4] = 40 - at_home;
        loads
    };
    assert_eq!(with(loads(15)), home);
    let other = with(loads(16));
    assert_ne!(other, home);
    assert_ne!(other, (home + 1) % 4, "that one is above its bound as well");
}

#[test]
fn one_key_for_all_calls_loads_no_endpoint_above_the_bound() {
    let mut bench = bench("", &many(20));
    let mut loads = [0_u32; 20];
    for total in 1..=2000_u32 {
        host(|host| host.in_flight = loads.to_vec());
        let index = bench.pick(&call(1)).unwrap();
        loads[index] += 1;
        // What is known of the others may be some calls old.
        assert!(f64::from(loads[index]) <= (1.25 * f64::from(total) / 20.0).ceil(), "{loads:?}");
    }
}

#[test]
fn a_call_that_is_tried_again_goes_to_the_next() {
    let mut bench = bench("", &many(3));
    let first = bench.pick(&call(5)).unwrap();
    let second = bench.pick_again(&call(5), &[first]).unwrap();
    assert!(bench.pick_again(&call(5), &[first, second]).is_some());
    assert_eq!(bench.pick_again(&call(5), &[0, 1, 2]), None);
}

#[test]
fn what_has_no_hash_is_left_to_the_native_balancer() {
    assert_eq!(bench("", &many(3)).pick(&Call::default()), None);
    assert_eq!(bench("", &[]).pick(&call(1)), None);
}

#[test]
fn many_endpoints_share_the_points() {
    let mut bench = bench("", &many(5000));
    assert_eq!(bench.policy().circle.len(), 5000 * (MOST_POINTS / 5000));
    assert!(bench.pick(&call(1)).is_some());
}

#[test]
fn the_example_in_the_readme_is_accepted() {
    assert_eq!(Bench::<BoundedHash>::new(example(include_str!("../README.md"))).err(), None);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let cases = [
        (r#"{"bound": 0.9}"#, "bound: must be from 1 to 100, is 0.9"),
        (r#"{"points": 0}"#, "points: must be from 1 to 1000, is 0"),
        (r#"{"bounds": 2}"#, "unknown field `bounds`"),
    ];
    for (config, reason) in cases {
        let refusal = Bench::<BoundedHash>::new(config).err().unwrap_or_default();
        assert!(refusal.contains(reason), "{config}: {refusal}");
    }
}
