//! Alarms, and the quota that raises one of them.
//!
//! An alarm is replicated state: while NOSPACE is on anywhere, no member applies a request that
//! would make the store grow; while CORRUPT is on, none applies any write at all. Reads go on, and
//! under NOSPACE deletes and compaction do, which is how an operator gets out of it. Alarms stay
//! until they are disarmed by hand.
//!
//! The quota itself is looked at before a request is proposed, by the member that serves it: what
//! is refused for lack of space has never been in the log.

use im::OrdSet;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::api::proto::vetcdpb::log_request::Request;

use super::refusal::Refusal;

/// The quota where `--quota-backend-bytes` is 0.
pub const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
/// What a key costs beside its name and value, as etcd estimates it (bytes).
const KEY_OVERHEAD: u64 = 256;
/// What a lease costs, as etcd estimates it (bytes).
const LEASE_OVERHEAD: u64 = 64;

/// The alarms that are on: kind and member. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(OrdSet<(i32, u64)>);

impl Alarms {
    /// From their stored form.
    pub fn from_wire(alarms: impl IntoIterator<Item = pb::AlarmMember>) -> Alarms {
        Alarms(alarms.into_iter().map(|a| (a.alarm, a.member_id)).collect())
    }

    /// In their stored form, by kind and member.
    pub fn to_wire(&self) -> Vec<pb::AlarmMember> {
        self.of_kind(pb::AlarmType::None)
    }

    /// The alarms of one kind; of every kind for `None`.
    pub fn of_kind(&self, kind: pb::AlarmType) -> Vec<pb::AlarmMember> {
        let wanted = |alarm: &&(i32, u64)| kind == pb::AlarmType::None || alarm.0 == kind as i32;
        let alarms = self.0.iter().filter(wanted);
        alarms.map(|(kind, member)| alarm(*kind, *member)).collect()
    }

    /// Whether an alarm of this kind is on.
    pub fn is_on(&self, kind: pb::AlarmType) -> bool {
        self.0.iter().any(|(on, _)| *on == kind as i32)
    }

    /// Applies a request; answers with the alarms it concerns.
    pub fn apply(&mut self, request: &pb::AlarmRequest) -> Vec<pb::AlarmMember> {
        let known = pb::AlarmType::try_from(request.alarm).unwrap_or_default();
        let key = (known as i32, request.member_id);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.of_kind(known),
            Ok(AlarmAction::Activate) if known != pb::AlarmType::None => {
                self.0.insert(key);
                vec![alarm(key.0, key.1)]
            }
            Ok(AlarmAction::Deactivate) => match self.0.remove(&key) {
                Some(_) => vec![alarm(key.0, key.1)],
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Why `request` must not be applied while these alarms are on.
    pub fn refuse(&self, request: &Request) -> Option<Refusal> {
        if self.0.is_empty() {
            return None;
        }
        let writes = matches!(
            request,
            Request::Put(_)
                | Request::DeleteRange(_)
                | Request::Txn(_)
                | Request::Compaction(_)
                | Request::LeaseGrant(_)
                | Request::LeaseRevoke(_)
                | Request::LeaseExpiry(_)
        );
        if writes && self.is_on(pb::AlarmType::Corrupt) {
            return Some(Refusal::Corrupt);
        }
        (cost(request) > 0 && self.is_on(pb::AlarmType::Nospace)).then_some(Refusal::NoSpace)
    }
}

fn alarm(kind: i32, member_id: u64) -> pb::AlarmMember {
    pb::AlarmMember {
        member_id,
        alarm: kind,
    }
}

/// How much a request may make the store grow (bytes), as etcd estimates it.
pub fn cost(request: &Request) -> u64 {
    match request {
        Request::Put(put) => cost_of_put(put),
        Request::Txn(txn) => cost_of_txn(txn),
        Request::LeaseGrant(_) => LEASE_OVERHEAD,
        _ => 0,
    }
}

fn cost_of_put(put: &pb::PutRequest) -> u64 {
    KEY_OVERHEAD + (put.key.len() + put.value.len()) as u64
}

fn cost_of_txn(txn: &pb::TxnRequest) -> u64 {
    let branch = |operations: &[pb::RequestOp]| -> u64 {
        let cost = |operation: &pb::RequestOp| match &operation.request {
            Some(pb::request_op::Request::RequestPut(put)) => cost_of_put(put),
            Some(pb::request_op::Request::RequestTxn(txn)) => cost_of_txn(txn),
            _ => 0,
        };
        operations.iter().map(cost).sum()
    };
    branch(&txn.success).max(branch(&txn.failure))
}

/// The quota in force for `--quota-backend-bytes`; `None` when there is none.
pub fn quota(flag: i64) -> Option<u64> {
    match flag {
        0 => Some(DEFAULT_QUOTA_BYTES),
        bytes => u64::try_from(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proto::vetcdpb::LeaseGrant;

    fn request(action: AlarmAction, member_id: u64, kind: pb::AlarmType) -> pb::AlarmRequest {
        pb::AlarmRequest {
            action: action as i32,
            member_id,
            alarm: kind as i32,
        }
    }

    fn put() -> Request {
        Request::Put(pb::PutRequest {
            key: bytes::Bytes::from_static(b"k"),
            ..Default::default()
        })
    }

    fn delete() -> Request {
        Request::DeleteRange(pb::DeleteRangeRequest::default())
    }

    fn grant() -> Request {
        Request::LeaseGrant(LeaseGrant { id: 1, ttl: 60 })
    }

    fn txn(operation: pb::request_op::Request) -> pb::TxnRequest {
        pb::TxnRequest {
            failure: vec![pb::RequestOp {
                request: Some(operation),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn alarms_go_on_and_off_and_are_told() {
        let mut alarms = Alarms::default();
        let on = request(AlarmAction::Activate, 7, pb::AlarmType::Nospace);
        assert_eq!(alarms.apply(&on).len(), 1);
        assert_eq!(alarms.apply(&on).len(), 1, "already on, and told again");
        let none = request(AlarmAction::Activate, 7, pb::AlarmType::None);
        assert_eq!(alarms.apply(&none), []);
        let get = |kind| request(AlarmAction::Get, 0, kind);
        assert_eq!(alarms.apply(&get(pb::AlarmType::None)).len(), 1);
        assert_eq!(alarms.apply(&get(pb::AlarmType::Corrupt)), []);
        let other = request(AlarmAction::Deactivate, 8, pb::AlarmType::Nospace);
        assert_eq!(alarms.apply(&other), []);
        assert_eq!(Alarms::from_wire(alarms.to_wire()), alarms);
        let off = request(AlarmAction::Deactivate, 7, pb::AlarmType::Nospace);
        assert_eq!(alarms.apply(&off).len(), 1);
        assert_eq!(alarms, Alarms::default());
    }

    #[test]
    fn no_space_stops_what_grows_and_corrupt_every_write() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.refuse(&put()), None);
        alarms.apply(&request(AlarmAction::Activate, 7, pb::AlarmType::Nospace));
        assert_eq!(alarms.refuse(&put()), Some(Refusal::NoSpace));
        assert_eq!(alarms.refuse(&grant()), Some(Refusal::NoSpace));
        assert_eq!(alarms.refuse(&delete()), None);
        let reading = pb::request_op::Request::RequestRange(pb::RangeRequest::default());
        assert_eq!(alarms.refuse(&Request::Txn(txn(reading))), None);
        let writing = pb::request_op::Request::RequestPut(pb::PutRequest::default());
        let nested = pb::request_op::Request::RequestTxn(txn(writing));
        let growing = Request::Txn(txn(nested));
        assert_eq!(alarms.refuse(&growing), Some(Refusal::NoSpace));
        alarms.apply(&request(AlarmAction::Activate, 7, pb::AlarmType::Corrupt));
        assert_eq!(alarms.refuse(&put()), Some(Refusal::Corrupt));
        assert_eq!(alarms.refuse(&delete()), Some(Refusal::Corrupt));
    }

    #[test]
    fn quotas() {
        assert_eq!(quota(0), Some(2 << 30));
        assert_eq!(quota(5), Some(5));
        assert_eq!(quota(-1), None);
    }
}
