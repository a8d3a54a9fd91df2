//! Which endpoints fail where the others do not: gRPC's proposal A50 as pure functions.

use std::time::Duration;

use super::config::Outlier;

/// What one endpoint's calls came to in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Calls that ended, well or badly.
    pub calls: u64,
    /// Those that ended badly.
    pub failed: u64,
}

impl Window {
    fn success_rate(self) -> f64 {
        (self.calls - self.failed.min(self.calls)) as f64 / self.calls as f64
    }
}

/// The endpoints, by their place in `windows`, that fail more than they may, each with the reason in words.
pub(super) fn outliers(windows: &[Window], config: &Outlier) -> Vec<(usize, String)> {
    let enough = |window: &Window| window.calls >= u64::from(config.min_calls);
    let looked_at: Vec<_> = windows.iter().enumerate().filter(|(_, window)| enough(window)).collect();
    if looked_at.len() < config.min_endpoints as usize {
        return Vec::new();
    }
    let rates = || looked_at.iter().map(|(_, window)| window.success_rate());
    let count = looked_at.len() as f64;
    let mean = rates().sum::<f64>() / count;
    let deviation = (rates().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count).sqrt();
    let least = mean - deviation * f64::from(config.success_rate_deviation) / 1_000.0;
    let why = |window: &Window| {
        let rate = window.success_rate();
        if config.success_rate_deviation > 0 && rate < least {
            let percent = [rate, least, mean].map(|rate| rate * 100.0);
            let [rate, least, mean] = percent;
            return Some(format!("{rate:.1} % of its calls succeed, below {least:.1} % (the mean is {mean:.1} %)"));
        }
        let failed = window.failed * 100;
        (config.failure_percentage > 0 && failed > u64::from(config.failure_percentage) * window.calls).then(|| {
            format!(
                "{} % of its {} calls failed, above {} %",
                failed / window.calls,
                window.calls,
                config.failure_percentage
            )
        })
    };
    looked_at.iter().filter_map(|(at, window)| Some((*at, why(window)?))).collect()
}

/// Whether one more endpoint may be ejected: the share of all may not be passed, but one is always allowed; and of those
/// that are `usable` when none is ejected, one stays.
pub(super) fn may_eject(ejected: usize, usable: usize, all: usize, config: &Outlier) -> bool {
    let share = all * usize::from(config.max_share) / 100;
    config.max_share > 0 && ejected < share.max(1) && ejected + 1 < usable
}

/// How long an endpoint is ejected that has been ejected so many times before.
pub(super) fn ejection_time(before: u32, config: &Outlier) -> Duration {
    config.base_ejection.saturating_mul(before.saturating_add(1)).min(config.max_ejection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Config;

    fn config(text: &str) -> Outlier {
        crate::config::parse(&format!("outlier: {text}"), Config::read).unwrap().outlier
    }

    fn places(failed: &[u64], config: &Outlier) -> Vec<usize> {
        let windows: Vec<_> = failed.iter().map(|&failed| Window { calls: 100, failed }).collect();
        outliers(&windows, config).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn a_success_rate_far_below_the_mean_is_an_outlier() {
        let rate = config("{success_rate_deviation: 1900}");
        // Nine of 99 % and one of 50 %: mean 94.1, deviation 14.7, so that 66.2 is the least.
        let mut failed = [1; 10];
        failed[3] = 50;
        assert_eq!(places(&failed, &rate), [3]);
        failed[3] = 20;
        assert_eq!(places(&failed, &rate), [3], "the deviation is that of these rates");
        assert!(places(&[1; 10], &rate).is_empty(), "all alike");
        assert!(places(&[100; 10], &rate).is_empty(), "all fail: nobody stands out");
        assert!(places(&[1, 1, 1, 90], &rate).is_empty(), "too few endpoints");
        let windows = [Window { calls: 99, failed: 99 }; 10];
        assert!(outliers(&windows, &rate).is_empty(), "too few calls");
        assert!(places(&failed, &config("{}")).is_empty(), "not asked for");
    }

    #[test]
    fn a_failure_percentage_above_the_threshold_is_an_outlier() {
        let percentage = config("{failure_percentage: 85, min_endpoints: 2}");
        assert_eq!(places(&[85, 86, 0, 100], &percentage), [1, 3]);
        let reason = &outliers(&[Window { calls: 200, failed: 180 }; 2], &percentage)[0].1;
        assert_eq!(reason, "90 % of its 200 calls failed, above 85 %");
    }

    #[test]
    fn one_may_always_be_ejected_and_one_always_stays() {
        let ten = config("{max_share: 10}");
        for (ejected, all, expected) in
            [(0, 1, false), (0, 2, true), (1, 2, false), (0, 3, true), (1, 10, false), (1, 20, true), (2, 20, false)]
        {
            assert_eq!(may_eject(ejected, all, all, &ten), expected, "{ejected} of {all}");
        }
        assert!(!may_eject(0, 1, 3, &ten), "the others are drained or unhealthy");
        let whole = config("{max_share: 100}");
        assert!(may_eject(8, 10, 10, &whole) && !may_eject(9, 10, 10, &whole));
        assert!(!may_eject(0, 10, 10, &config("{max_share: 0}")));
    }

    #[test]
    fn ejections_grow_longer_up_to_a_bound() {
        let config = config("{base_ejection: 30s, max_ejection: 5m}");
        assert_eq!(
            [0, 1, 8, 9, 10, u32::MAX].map(|before| ejection_time(before, &config).as_secs()),
            [30, 60, 270, 300, 300, 300]
        );
    }
}
