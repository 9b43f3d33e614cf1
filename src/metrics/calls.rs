//! gRPC calls as they are counted: started, and handled with their code.

use std::collections::BTreeMap;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::Make;

/// The codes of gRPC, in their order, as Go spells them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The calls of clients. Methods are known beforehand: a client cannot make labels up.
pub struct Calls {
    methods: BTreeMap<String, Call>,
    /// Bytes received in calls.
    pub received_bytes: IntCounter,
    /// Bytes sent in answers.
    pub sent_bytes: IntCounter,
}

/// One method.
#[derive(Clone)]
pub struct Call {
    service: String,
    method: String,
    kind: &'static str,
    started: IntCounter,
    succeeded: IntCounter,
    handled: IntCounterVec,
    seconds: Histogram,
}

impl Calls {
    pub(super) fn new(r: &Make<'_>) -> Calls {
        const LABELS: [&str; 3] = ["grpc_service", "grpc_method", "grpc_type"];
        let started = r.counters("grpc_server_started_total", "Calls begun.", &LABELS);
        let handled = r.counters(
            "grpc_server_handled_total",
            "Calls ended, by the code of their answer.",
            &["grpc_service", "grpc_method", "grpc_type", "grpc_code"],
        );
        let seconds: HistogramVec = r.histograms(
            "grpc_server_handling_seconds",
            "Seconds from a call's beginning to its end.",
            prometheus::DEFAULT_BUCKETS.to_vec(),
            &LABELS,
        );
        let methods = crate::api::descriptors::methods().map(|(path, service, method, kind)| {
            let labels = [service.as_str(), method.as_str(), kind];
            let call = Call {
                started: started.with_label_values(&labels),
                succeeded: handled.with_label_values(&[
                    service.as_str(),
                    method.as_str(),
                    kind,
                    CODES[0],
                ]),
                handled: handled.clone(),
                seconds: seconds.with_label_values(&labels),
                service,
                method,
                kind,
            };
            (path, call)
        });
        Calls {
            methods: methods.collect(),
            received_bytes: r.counter(
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes received from clients in gRPC messages.",
            ),
            sent_bytes: r.counter(
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes sent to clients in gRPC messages.",
            ),
        }
    }

    /// The method behind `path`.
    pub fn get(&self, path: &str) -> Option<&Call> {
        self.methods.get(path)
    }
}

impl Call {
    /// The call has begun.
    pub fn start(&self) {
        self.started.inc();
    }

    /// The call has ended with `code`, gRPC's number.
    pub fn end(&self, code: i32) {
        if code == 0 {
            self.succeeded.inc();
            return;
        }
        let code = CODES.get(code as usize).copied().unwrap_or("Unknown");
        self.handled
            .with_label_values(&[self.service.as_str(), &self.method, self.kind, code])
            .inc();
    }

    /// How long the call took.
    pub fn took(&self, seconds: f64) {
        self.seconds.observe(seconds);
    }
}
