//! What the apply task counts.

use crate::api::proto::etcdserverpb::{TxnResponse, response_op};
use crate::api::proto::vetcdpb::log_request::Request;
use crate::metrics::ServerMetrics;

use super::Response;
use super::waiters::Outcome;

/// A request's kind, as etcd's metrics name it.
pub fn kind(request: Option<&Request>) -> &'static str {
    match request {
        Some(Request::Put(_)) => "Put",
        Some(Request::DeleteRange(_)) => "DeleteRange",
        Some(Request::Txn(_)) => "Txn",
        Some(Request::Compaction(_)) => "Compaction",
        Some(Request::MemberAttributes(_)) => "ClusterMemberAttrSet",
        #[allow(unreachable_patterns, reason = "kinds are added elsewhere")]
        _ => "unknown",
    }
}

/// Counts one applied request.
pub fn count(metrics: &ServerMetrics, kind: &str, outcome: &Outcome, seconds: f64) {
    let success = if outcome.is_ok() { "true" } else { "false" };
    metrics
        .apply_seconds
        .with_label_values(&["v3", kind, success])
        .observe(seconds);
    match outcome {
        Ok(Response::Put(_)) => metrics.puts.inc(),
        Ok(Response::DeleteRange(_)) => metrics.deletes.inc(),
        Ok(Response::Txn(response)) => count_txn(metrics, response),
        _ => {}
    }
}

/// A transaction, and what was carried out inside it; nested as deeply as the request was, which is
/// bounded where requests are decoded.
fn count_txn(metrics: &ServerMetrics, response: &TxnResponse) {
    metrics.txns.inc();
    for operation in &response.responses {
        match &operation.response {
            Some(response_op::Response::ResponseRange(_)) => metrics.ranges.inc(),
            Some(response_op::Response::ResponsePut(_)) => metrics.puts.inc(),
            Some(response_op::Response::ResponseDeleteRange(_)) => metrics.deletes.inc(),
            Some(response_op::Response::ResponseTxn(inner)) => count_txn(metrics, inner),
            None => {}
        }
    }
}
