//! Between a history's own types and the protocol's.

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb;
use vetcd::api::proto::v3electionpb as pb_election;
use vetcd::api::proto::v3lockpb;
use vetcd::client::{CallError, Client, FailureClass as ClientFailure};

use crate::history::{
    Body, Compare, Delete, DeleteBody, Failure, FailureClass, KeyValue, Leader, LeaseAnswer,
    LeaseOutcome, LeaseRequest, Operand, Outcome, Put, PutBody, Range, RangeBody, Relation,
    Request, Response, Txn, TxnBody, lease_name,
};

/// A response that does not answer its request: the server is broken, and the run must fail.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer does not fit the request: {0}")]
pub struct Misfit(&'static str);

pub fn range(request: &Range) -> pb::RangeRequest {
    pb::RangeRequest {
        key: request.key.clone(),
        range_end: request.range_end.clone(),
        limit: request.limit,
        revision: request.revision,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        ..Default::default()
    }
}

pub fn put(request: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: request.key.clone(),
        value: request.value.clone(),
        lease: request.lease,
        prev_kv: request.prev_kv,
        ..Default::default()
    }
}

pub fn delete(request: &Delete) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: request.key.clone(),
        range_end: request.range_end.clone(),
        prev_kv: request.prev_kv,
    }
}

pub fn txn(request: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: request.compare.iter().map(compare).collect(),
        success: request.then.iter().map(operation).collect(),
        failure: request.otherwise.iter().map(operation).collect(),
    }
}

fn operation(request: &Request) -> pb::RequestOp {
    use pb::request_op::Request as Op;
    let op = match request {
        Request::Range(request) => Op::RequestRange(range(request)),
        Request::Put(request) => Op::RequestPut(put(request)),
        Request::Delete(request) => Op::RequestDeleteRange(delete(request)),
        Request::Txn(request) => Op::RequestTxn(txn(request)),
        Request::Compact(_) => unreachable!("a compaction is no part of a transaction"),
    };
    pb::RequestOp { request: Some(op) }
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = match compare.relation {
        Relation::Equal => CompareResult::Equal,
        Relation::Greater => CompareResult::Greater,
        Relation::Less => CompareResult::Less,
        Relation::NotEqual => CompareResult::NotEqual,
    };
    let (target, union) = match &compare.operand {
        Operand::Version(n) => (CompareTarget::Version, TargetUnion::Version(*n)),
        Operand::CreateRevision(n) => (CompareTarget::Create, TargetUnion::CreateRevision(*n)),
        Operand::ModRevision(n) => (CompareTarget::Mod, TargetUnion::ModRevision(*n)),
        Operand::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        Operand::Lease(n) => (CompareTarget::Lease, TargetUnion::Lease(*n)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.key.clone(),
        range_end: compare.range_end.clone(),
        target_union: Some(union),
    }
}

/// What a history remembers of a key and its value.
pub fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: owned(kv.key),
        value: owned(kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// A copy that does not keep the whole response alive for the length of the history.
fn owned(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

/// What a history remembers of a range's answer.
pub fn range_body(response: pb::RangeResponse) -> RangeBody {
    RangeBody {
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

pub fn put_body(response: pb::PutResponse) -> PutBody {
    PutBody {
        previous: response.prev_kv.map(key_value),
    }
}

pub fn delete_body(response: pb::DeleteRangeResponse) -> DeleteBody {
    DeleteBody {
        deleted: response.deleted,
        previous: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

pub fn txn_body(response: pb::TxnResponse) -> Result<TxnBody, Misfit> {
    use pb::response_op::Response as Op;
    let responses = response
        .responses
        .into_iter()
        .map(|op| match op.response {
            Some(Op::ResponseRange(response)) => Ok(Body::Range(range_body(response))),
            Some(Op::ResponsePut(response)) => Ok(Body::Put(put_body(response))),
            Some(Op::ResponseDeleteRange(response)) => Ok(Body::Delete(delete_body(response))),
            Some(Op::ResponseTxn(response)) => Ok(Body::Txn(txn_body(response)?)),
            None => Err(Misfit("an empty answer inside a transaction's")),
        })
        .collect::<Result<_, _>>()?;
    Ok(TxnBody {
        succeeded: response.succeeded,
        responses,
    })
}

/// A response with its header's revision.
pub fn answered(header: Option<pb::ResponseHeader>, body: Body) -> Result<Outcome, Misfit> {
    let header = header.ok_or(Misfit("no header"))?;
    Ok(Outcome::Ok(Response {
        revision: header.revision,
        body,
    }))
}

/// What a failed call means: only what certainly had no effect is a failure.
pub fn failed(error: &CallError) -> Outcome {
    let message = error.status.message().to_owned();
    let class = match error.class {
        ClientFailure::Unknown => return Outcome::Unknown(message),
        ClientFailure::NotSent => FailureClass::Rejected,
        ClientFailure::Rejected => match message.as_str() {
            "etcdserver: mvcc: required revision has been compacted" => FailureClass::Compacted,
            "etcdserver: mvcc: required revision is a future revision" => {
                FailureClass::FutureRevision
            }
            "etcdserver: requested lease not found" => FailureClass::LeaseNotFound,
            _ if error.status.code() == tonic::Code::InvalidArgument => {
                FailureClass::InvalidArgument
            }
            _ => FailureClass::Rejected,
        },
    };
    Outcome::Failed(Failure { class, message })
}

/// Sends a request about a lease or a lock.
pub async fn send_lease(
    client: &mut Client,
    request: &LeaseRequest,
) -> Result<LeaseAnswer, CallError> {
    match request {
        LeaseRequest::Grant { id, ttl } => {
            let request = pb::LeaseGrantRequest { id: *id, ttl: *ttl };
            let ttl = client.lease_grant(request).await?.ttl;
            Ok(LeaseAnswer::Granted { ttl })
        }
        LeaseRequest::Revoke { id } => {
            let request = pb::LeaseRevokeRequest { id: *id };
            client.lease_revoke(request).await?;
            Ok(LeaseAnswer::Revoked)
        }
        LeaseRequest::KeepAlive { id } => {
            let request = pb::LeaseKeepAliveRequest { id: *id };
            let ttl = client.lease_keep_alive(request).await?.ttl;
            Ok(LeaseAnswer::Renewed { ttl })
        }
        LeaseRequest::TimeToLive { id } => {
            let request = pb::LeaseTimeToLiveRequest {
                id: *id,
                keys: false,
            };
            let ttl = client.lease_time_to_live(request).await?.ttl;
            Ok(LeaseAnswer::Times { ttl })
        }
        LeaseRequest::Lock { name, lease } => {
            let request = v3lockpb::LockRequest {
                name: name.clone(),
                lease: *lease,
            };
            let key = owned(client.lock(request).await?.key);
            Ok(LeaseAnswer::Locked { key })
        }
        LeaseRequest::Unlock { key } => {
            let request = v3lockpb::UnlockRequest { key: key.clone() };
            client.unlock(request).await?;
            Ok(LeaseAnswer::Unlocked)
        }
        LeaseRequest::Campaign { name, lease, value } => {
            let request = pb_election::CampaignRequest {
                name: name.clone(),
                lease: *lease,
                value: value.clone(),
            };
            let leader = client.campaign(request).await?.leader.unwrap_or_default();
            Ok(LeaseAnswer::Elected {
                key: owned(leader.key),
                created: leader.rev,
            })
        }
        LeaseRequest::Proclaim {
            key,
            created,
            value,
        } => {
            let request = pb_election::ProclaimRequest {
                leader: leader_key(key, *created),
                value: value.clone(),
            };
            client.proclaim(request).await?;
            Ok(LeaseAnswer::Proclaimed)
        }
        LeaseRequest::Resign { key, created } => {
            let request = pb_election::ResignRequest {
                leader: leader_key(key, *created),
            };
            client.resign(request).await?;
            Ok(LeaseAnswer::Resigned)
        }
        LeaseRequest::Leader { name } => {
            let request = pb_election::LeaderRequest { name: name.clone() };
            Ok(LeaseAnswer::Leads(leader(client.leader(request).await?)))
        }
    }
}

/// What a history remembers of who leads.
pub fn leader(response: pb_election::LeaderResponse) -> Leader {
    let kv = response.kv.unwrap_or_default();
    Leader {
        key: owned(kv.key),
        value: owned(kv.value),
        created: kv.create_revision,
        modified: kv.mod_revision,
    }
}

fn leader_key(key: &Bytes, created: i64) -> Option<pb_election::LeaderKey> {
    let name = key.rsplitn(2, |byte| *byte == b'/').nth(1);
    Some(pb_election::LeaderKey {
        name: Bytes::copy_from_slice(name.unwrap_or_default()),
        key: key.clone(),
        rev: created,
        lease: lease_in(key),
    })
}

/// The lease that the key of a lock or a candidate ends in; 0 when it ends in none.
pub fn lease_in(key: &Bytes) -> i64 {
    let last = key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let text = std::str::from_utf8(last).unwrap_or_default();
    i64::from_str_radix(text, 16).unwrap_or_default()
}

/// What a failed call about a lease or a lock means.
pub fn lease_failed(error: &CallError) -> LeaseOutcome {
    let message = error.status.message().to_owned();
    match error.class {
        ClientFailure::Unknown => LeaseOutcome::Unknown(message),
        ClientFailure::NotSent | ClientFailure::Rejected => LeaseOutcome::Failed(message),
    }
}

/// What a request about a lock or an election may do to keys: put the client's key if it is not
/// there; take it away again, when the client goes or gives back what it holds; say something else
/// under it. The ends of leases are not among it: the judges know that they may come at any time.
pub fn effects_on_keys(request: &LeaseRequest) -> Vec<Request> {
    let delete = |key: Bytes| {
        Request::Delete(Delete {
            key,
            ..Default::default()
        })
    };
    let only_if_created = |key: &Bytes, created: i64, then: Request| {
        Request::Txn(Txn {
            compare: vec![Compare {
                key: key.clone(),
                range_end: Bytes::new(),
                relation: Relation::Equal,
                operand: Operand::CreateRevision(created),
            }],
            then: vec![then],
            otherwise: Vec::new(),
        })
    };
    let put = |key: &Bytes, value: &Bytes, lease: i64| {
        Request::Put(Put {
            key: key.clone(),
            value: value.clone(),
            lease,
            ..Default::default()
        })
    };
    let session_key = |name: &Bytes, lease: i64| {
        Bytes::from([name, &b"/"[..], lease_name(lease).as_bytes()].concat())
    };
    match request {
        LeaseRequest::Lock { name, lease } => {
            let key = session_key(name, *lease);
            let create = only_if_created(&key, 0, put(&key, &Bytes::new(), *lease));
            vec![create, delete(key)]
        }
        LeaseRequest::Campaign { name, lease, value } => {
            let key = session_key(name, *lease);
            let create = only_if_created(&key, 0, put(&key, value, *lease));
            vec![create, delete(key)]
        }
        LeaseRequest::Unlock { key } => vec![delete(key.clone())],
        LeaseRequest::Proclaim {
            key,
            created,
            value,
        } => vec![only_if_created(
            key,
            *created,
            put(key, value, lease_in(key)),
        )],
        LeaseRequest::Resign { key, created } => {
            vec![only_if_created(key, *created, delete(key.clone()))]
        }
        _ => Vec::new(),
    }
}
