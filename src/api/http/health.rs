//! `/health`, `/livez` and `/readyz`: is this member well, alive, ready?
//!
//! `/health` is the old question: no alarm, a leader, and a read that works. The other two are
//! Kubernetes' two questions, with the checks and answers of etcd 3.5.11 and later.

use std::sync::Arc;

use http::{Response, StatusCode, Uri};

use super::FrontBody;
use super::{not_found, respond, text};
use crate::server::Server;

/// One thing to look at: `Err` says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, server: &Server) -> Result<(), String> {
        match self {
            Check::DataCorruption => match alarms(server, &[]).first() {
                Some(alarm) if *alarm == "CORRUPT" => Err("alarm activated: CORRUPT".to_owned()),
                _ => Ok(()),
            },
            Check::SerializableRead => read(server, true).await,
            Check::LinearizableRead => read(server, false).await,
            Check::NonLearner => {
                let published = server.serializable();
                let own = published.members.get(server.identity().member_id);
                match own.is_some_and(|member| member.is_learner) {
                    true => Err("not supported for learner".to_owned()),
                    false => Ok(()),
                }
            }
        }
    }
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[
    Check::DataCorruption,
    Check::SerializableRead,
    Check::LinearizableRead,
    Check::NonLearner,
];

async fn read(server: &Server, serializable: bool) -> Result<(), String> {
    match server.read(serializable).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The names of raised alarms but for the excluded ones.
fn alarms(server: &Server, excluded: &[String]) -> Vec<&'static str> {
    let mut raised = server.raised_alarms();
    raised.retain(|alarm| !excluded.iter().any(|name| name == alarm));
    raised
}

/// The values of a query's parameter; names and values here need no decoding.
fn parameters<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = &'a str> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
}

/// `/health`.
pub async fn health(server: &Arc<Server>, uri: &Uri) -> Response<FrontBody> {
    let excluded: Vec<String> = parameters(uri, "exclude").map(str::to_owned).collect();
    let serializable = parameters(uri, "serializable").any(|value| value == "true");
    let metrics = &server.metrics().server;
    let reason = if let Some(alarm) = alarms(server, &excluded).first() {
        Some(format!("ALARM {alarm}"))
    } else if !serializable && server.raft_status().leader == 0 {
        Some("RAFT NO LEADER".to_owned())
    } else {
        read(server, serializable)
            .await
            .err()
            .map(|error| format!("RANGE ERROR:{error}"))
    };
    match reason {
        None => {
            metrics.health_success.inc();
            let body = "{\"health\":\"true\",\"reason\":\"\"}";
            respond(StatusCode::OK, "text/plain; charset=utf-8", body)
        }
        Some(reason) => {
            metrics.health_failures.inc();
            let body = serde_json::json!({ "health": "false", "reason": reason });
            let status = StatusCode::SERVICE_UNAVAILABLE;
            respond(status, "text/plain; charset=utf-8", body.to_string())
        }
    }
}

/// `/livez`, `/readyz`, and one check of them by its own path.
pub async fn probe(server: &Arc<Server>, uri: &Uri) -> Response<FrontBody> {
    let mut parts = uri.path().trim_start_matches('/').splitn(2, '/');
    let (probe, one) = (parts.next().unwrap_or_default(), parts.next());
    let all = match probe {
        "livez" => LIVE,
        _ => READY,
    };
    let excluded: Vec<&str> = parameters(uri, "exclude").collect();
    let mut checks = Vec::new();
    for check in all {
        let asked_for = one.is_none_or(|one| one == check.name());
        if asked_for {
            checks.push(*check);
        }
    }
    if checks.is_empty() {
        return not_found();
    }
    let verbose = uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"))
    });
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        let name = check.name();
        if one.is_none() && excluded.contains(&name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check.run(server).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                failed = true;
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
            }
        }
    }
    match (failed, verbose) {
        (true, _) => text(StatusCode::SERVICE_UNAVAILABLE, lines),
        (false, true) => text(StatusCode::OK, format!("{lines}ok\n")),
        (false, false) => text(StatusCode::OK, "ok\n"),
    }
}
