//! Reading ranges: what is chosen, in which order, how much of it.

use std::cmp::Ordering;

use etcd_client::proto::{PbKeyValue, PbRangeRequest, PbRangeResponse};

use super::write::revision_only;
use super::{Error, Keys, Store};

impl Store {
    pub(in crate::embedded) fn range(&self, request: &PbRangeRequest) -> Result<PbRangeResponse, Error> {
        let mut response = self.read(request, self.revision)?;
        response.header = Some(self.header());
        Ok(response)
    }

    /// The same for a request within a transaction, where the present is what the transaction has written so far.
    pub(super) fn read(&self, request: &PbRangeRequest, present: i64) -> Result<PbRangeResponse, Error> {
        let at = match request.revision {
            ..=0 => present,
            asked => self.readable(asked)?,
        };
        let keys = Keys::new(&request.key, &request.range_end);
        let count = self.at(&keys, at).count();
        let mut response = PbRangeResponse {
            header: revision_only(present),
            count: i64::try_from(count).unwrap_or(i64::MAX),
            ..PbRangeResponse::default()
        };
        if request.count_only {
            return Ok(response);
        }

        let order = Order::of(request);
        let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
        // Without an explicit order or bounds on revisions, etcd takes the first keys and sorts these.
        let of_all = request.sort_order != 0 || bounds_revisions(request);
        let taken = if of_all { usize::MAX } else { limit.map_or(usize::MAX, |limit| limit + 1) };
        let mut chosen: Vec<_> = self.at(&keys, at).take(taken).filter(|kv| is_within(request, kv)).collect();
        if let Some(order) = order {
            chosen.sort_by(|a, b| order.compare(a, b));
        }
        if let Some(limit) = limit.filter(|&limit| limit < chosen.len()) {
            chosen.truncate(limit);
            response.more = true;
        }
        let copy = |kv: &PbKeyValue| match request.keys_only {
            true => PbKeyValue { key: kv.key.clone(), value: Vec::new(), ..*kv },
            false => kv.clone(),
        };
        response.kvs = chosen.into_iter().map(|kv| copy(kv)).collect();
        Ok(response)
    }
}

fn bounds_revisions(request: &PbRangeRequest) -> bool {
    let bounds =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    bounds != [0; 4]
}

fn is_within(request: &PbRangeRequest, kv: &PbKeyValue) -> bool {
    let within = |min, max, revision| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(request.min_mod_revision, request.max_mod_revision, kv.mod_revision)
        && within(request.min_create_revision, request.max_create_revision, kv.create_revision)
}

/// What the answer is sorted by, where that is not the key, upwards.
struct Order {
    target: i32,
    descending: bool,
}

impl Order {
    /// The numbers are those of the API; others were refused before.
    fn of(request: &PbRangeRequest) -> Option<Self> {
        match (request.sort_target, request.sort_order) {
            (0, 0 | 1) => None,
            (target, order) => Some(Order { target, descending: order == 2 }),
        }
    }

    fn compare(&self, a: &PbKeyValue, b: &PbKeyValue) -> Ordering {
        let ascending = match self.target {
            1 => a.version.cmp(&b.version),
            2 => a.create_revision.cmp(&b.create_revision),
            3 => a.mod_revision.cmp(&b.mod_revision),
            4 => a.value.cmp(&b.value),
            _ => a.key.cmp(&b.key),
        };
        if self.descending { ascending.reverse() } else { ascending }
    }
}
