//! Reading a range of keys at a revision.

use std::cmp::Ordering;
use std::sync::Arc;

use super::check::sort_options;
use super::{Error, Record, State, header};
use crate::api::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::api::proto::etcdserverpb::{RangeRequest, RangeResponse};
use crate::api::proto::mvccpb::KeyValue;

impl State {
    /// Reads the keys of a range, at the request's revision or at the newest.
    ///
    /// The response's header carries the store's revision, whatever revision was read. `count` is
    /// the number of keys in the range at that revision: neither limit nor filters change it.
    /// With `keys_only` the lease is still reported (etcd 3.7 reports 0).
    ///
    /// # Errors
    /// `Compacted`, `FutureRevision`, `InvalidSortOption`.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.range_at(request, self.revision)
    }

    /// Reads as if the store's revision were `current`; inside a transaction that has written it
    /// is the transaction's own.
    pub(super) fn range_at(
        &self,
        request: &RangeRequest,
        current: i64,
    ) -> Result<RangeResponse, Error> {
        let (target, order) = sort_options(request)?;
        if request.revision > current {
            return Err(Error::FutureRevision);
        }
        // Zero and, like etcd, negative revisions mean the newest.
        let at = if request.revision <= 0 {
            current
        } else {
            request.revision
        };
        if at < self.compact_revision {
            return Err(Error::Compacted);
        }
        let visible = self.visible(&request.key, &request.range_end, at);
        let mut response = RangeResponse {
            header: header(current),
            ..Default::default()
        };
        if request.count_only {
            response.count = as_count(visible.count());
            return Ok(response);
        }
        let fetch = fetch_limit(request, target, order);
        let mut found = Vec::new();
        let mut count = 0;
        for record in visible {
            count += 1;
            if found.len() < fetch {
                found.push(record);
            }
        }
        response.count = as_count(count);
        if has_filters(request) {
            found.retain(|record| passes_filters(request, &record.kv));
        }
        sort(&mut found, target, order);
        if let Some(limit) = limit(request)
            && found.len() > limit
        {
            found.truncate(limit);
            response.more = true;
        }
        response.kvs = found
            .into_iter()
            .map(|record| reply(&record.kv, request.keys_only))
            .collect();
        Ok(response)
    }
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn reply(kv: &KeyValue, keys_only: bool) -> KeyValue {
    let mut kv = kv.clone();
    if keys_only {
        kv.value.clear();
    }
    kv
}

/// The most pairs to return; `None` for all.
fn limit(request: &RangeRequest) -> Option<usize> {
    let limit = usize::try_from(request.limit).ok()?;
    (limit > 0).then_some(limit)
}

/// How many pairs to look at, in key order, before filtering and sorting: all of them, unless they
/// are wanted in key order as they are.
///
/// Like etcd, an order of NONE counts as key order here even when the target is another: such a
/// request sorts only the first limit + 1 keys (tried on 3.5.1).
fn fetch_limit(request: &RangeRequest, target: SortTarget, order: SortOrder) -> usize {
    let in_key_order =
        order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend);
    match limit(request) {
        Some(limit) if in_key_order && !has_filters(request) => limit.saturating_add(1),
        _ => usize::MAX,
    }
}

fn has_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes_filters(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(
        kv.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        kv.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Sorts pairs that are in key order; pairs that compare equal stay in key order.
fn sort(found: &mut [&Arc<Record>], target: SortTarget, order: SortOrder) {
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match order {
        SortOrder::Descend => found.sort_by(|a, b| compare(&b.kv, &a.kv)),
        SortOrder::None | SortOrder::Ascend if target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => found.sort_by(|a, b| compare(&a.kv, &b.kv)),
    }
}
