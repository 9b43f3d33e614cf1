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
    clients: IntCounterVec,
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
    received: IntCounter,
    sent: IntCounter,
}

/// The API versions that are told apart: 3.0 to this one's minor number.
const MINOR_VERSIONS: u32 = 20;

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
        let received = r.counters(
            "grpc_server_msg_received_total",
            "Messages received in calls.",
            &LABELS,
        );
        let sent = r.counters(
            "grpc_server_msg_sent_total",
            "Messages sent in answers.",
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
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                service,
                method,
                kind,
            };
            (path, call)
        });
        Calls {
            methods: methods.collect(),
            clients: r.counters(
                "etcd_server_client_requests_total",
                "Calls of clients, by what they say their version is.",
                &["type", "client_api_version"],
            ),
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

    /// Counts a call by its client's version, which the client may have made up: what is no version
    /// counts as unknown, so that there are few labels.
    pub fn count_client(&self, call: &Call, version: Option<&str>) {
        let known = version.filter(|version| is_version(version));
        let kind = if call.kind == "unary" {
            "unary"
        } else {
            "stream"
        };
        self.clients
            .with_label_values(&[kind, known.unwrap_or("unknown")])
            .inc();
    }

    /// The method behind `path`.
    pub fn get(&self, path: &str) -> Option<&Call> {
        self.methods.get(path)
    }
}

/// `3.` and a number that versions have.
fn is_version(version: &str) -> bool {
    let minor = version.strip_prefix("3.");
    let minor = minor.filter(|minor| *minor == "0" || !minor.starts_with(['0', '+']));
    minor.is_some_and(|minor| {
        minor
            .parse::<u32>()
            .is_ok_and(|minor| minor < MINOR_VERSIONS)
    })
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

    /// Messages were received.
    pub fn received(&self, messages: u64) {
        self.received.inc_by(messages);
    }

    /// Messages were sent.
    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    /// How long the call took.
    pub fn took(&self, seconds: f64) {
        self.seconds.observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn clients_cannot_make_versions_up() {
        for version in ["3.0", "3.5", "3.19"] {
            assert!(is_version(version), "{version}");
        }
        for version in [
            "",
            "3",
            "3.",
            "3.05",
            "3.+5",
            "3.20",
            "3.5.1",
            "4.0",
            "3.99999999999",
        ] {
            assert!(!is_version(version), "{version}");
        }
    }
}
