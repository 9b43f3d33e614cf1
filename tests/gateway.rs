//! The JSON gateway and the HTTP endpoints by plain HTTP, against what etcd 3.5.1 answers.
//!
//! Each answer below is etcd 3.5.1's own, but for the IDs and the term of the header, which are left
//! out on both sides; where vetcd means to differ, the case says so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/http.rs"]
mod http;
#[path = "support/process.rs"]
mod process;

use http::Http;
use process::{Member, cluster, places};

/// The header of an answer at `revision`, as far as it is compared.
fn header(revision: i64) -> String {
    match revision {
        0 => "\"header\":{}".to_owned(),
        _ => format!("\"header\":{{\"revision\":\"{revision}\"}}"),
    }
}

/// Cuts the members' IDs and the term out of an answer's own header.
fn without_ids(body: &str) -> String {
    let mut text = body.to_owned();
    for name in ["cluster_id", "member_id", "raft_term"] {
        let key = format!("\"{name}\":\"");
        while let Some(start) = text.find(&key) {
            let end = start + key.len();
            let end = end + text[end..].find('"').unwrap() + 1;
            text.replace_range(start..end, "");
        }
    }
    text.replace("{,", "{")
        .replace(",,", ",")
        .replace(",}", "}")
        .replace("{,", "{")
}

#[tokio::test(flavor = "multi_thread")]
async fn kv_answers_as_etcd_byte_for_byte() {
    let members = cluster(1, &[]).await;
    let http = Http::new(&members[0].place.client_address);
    let h = header;
    let kv = |create: i64, modified: i64, version: i64, value: &str| {
        let value = match value {
            "" => String::new(),
            _ => format!(",\"value\":\"{value}\""),
        };
        format!(
            "{{\"key\":\"Zm9v\",\"create_revision\":\"{create}\",\"mod_revision\":\"{modified}\",\
             \"version\":\"{version}\"{value}}}"
        )
    };
    let error = |code: i32, message: &str| {
        format!("{{\"error\":\"{message}\",\"code\":{code},\"message\":\"{message}\"}}")
    };
    let cases: Vec<(&str, &str, u16, String)> = vec![
        ("range", r#"{"key":"Zm9v"}"#, 200, format!("{{{}}}", h(1))),
        (
            "put",
            r#"{"key":"Zm9v","value":"YmFy"}"#,
            200,
            format!("{{{}}}", h(2)),
        ),
        (
            "put",
            r#"{"key":"Zm9v","value":"YmF6","prev_kv":true}"#,
            200,
            format!("{{{},\"prev_kv\":{}}}", h(3), kv(2, 2, 1, "YmFy")),
        ),
        (
            "put",
            r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#,
            200,
            format!("{{{},\"prev_kv\":{}}}", h(4), kv(2, 3, 2, "YmF6")),
        ),
        (
            "put",
            r#"{"key":"+/8=","value":"YmF6"}"#,
            200,
            format!("{{{}}}", h(5)),
        ),
        (
            "put",
            r#"{"key":"Zm9v","nonsense":1}"#,
            200,
            format!("{{{}}}", h(6)),
        ),
        // vetcd takes base64's URL alphabet too; etcd 3.5.1 refuses it.
        (
            "range",
            r#"{"key":"-_8"}"#,
            200,
            format!(
                "{{{},\"kvs\":[{{\"key\":\"+/8=\",\"create_revision\":\"5\",\"mod_revision\":\"5\",\
             \"version\":\"1\",\"value\":\"YmF6\"}}],\"count\":\"1\"}}",
                h(6)
            ),
        ),
        ("put", "", 400, error(3, "etcdserver: key is not provided")),
        (
            "put",
            "{}",
            400,
            error(3, "etcdserver: key is not provided"),
        ),
        (
            "put",
            r#"{"key":"Zm9v","lease":7}"#,
            404,
            error(5, "etcdserver: requested lease not found"),
        ),
        (
            "range",
            r#"{"key":"Zm9v","revision":"99"}"#,
            400,
            error(
                11,
                "etcdserver: mvcc: required revision is a future revision",
            ),
        ),
        (
            "range",
            r#"{"key":"Zm9v","limit":"1","sort_order":"DESCEND","sortTarget":"MOD"}"#,
            200,
            format!("{{{},\"kvs\":[{}],\"count\":\"1\"}}", h(6), kv(2, 6, 4, "")),
        ),
        (
            "range",
            r#"{"key":"Zm9v","sort_order":2}"#,
            200,
            format!("{{{},\"kvs\":[{}],\"count\":\"1\"}}", h(6), kv(2, 6, 4, "")),
        ),
        (
            "range",
            r#"{"key":"AA==","range_end":"AA==","count_only":true}"#,
            200,
            format!("{{{},\"count\":\"2\"}}", h(6)),
        ),
        (
            "txn",
            r#"{"compare":[{"key":"Zm9v","result":"EQUAL","target":"VERSION","version":"3"}],"success":[{"requestPut":{"key":"YQ==","value":"Yg=="}},{"request_range":{"key":"YQ=="}},{"request_delete_range":{"key":"YQ==","prev_kv":true}}],"failure":[{"request_range":{"key":"Zm9v"}}]}"#,
            400,
            error(3, "etcdserver: duplicate key given in txn request"),
        ),
        (
            "txn",
            r#"{"compare":[{"key":"Zm9v","result":"EQUAL","target":"VERSION","version":"9"}],"failure":[{"request_range":{"key":"Zm9v"}},{"request_txn":{}}]}"#,
            200,
            format!(
                "{{{},\"responses\":[{{\"response_range\":{{\"header\":{{\"revision\":\"6\"}},\
                 \"kvs\":[{}],\"count\":\"1\"}}}},{{\"response_txn\":{{\"header\":{{}},\
                 \"succeeded\":true}}}}]}}",
                h(6),
                kv(2, 6, 4, "")
            ),
        ),
        (
            "deleterange",
            r#"{"key":"Zm9v","prev_kv":true}"#,
            200,
            format!(
                "{{{},\"deleted\":\"1\",\"prev_kvs\":[{}]}}",
                h(7),
                kv(2, 6, 4, "")
            ),
        ),
        (
            "deleterange",
            r#"{"key":"Zm9v"}"#,
            200,
            format!("{{{}}}", h(7)),
        ),
        (
            "compaction",
            r#"{"revision":"3"}"#,
            200,
            format!("{{{}}}", h(7)),
        ),
        (
            "compaction",
            r#"{"revision":"3"}"#,
            400,
            error(11, "etcdserver: mvcc: required revision has been compacted"),
        ),
        (
            "range",
            r#"{"key":"Zm9v","revision":"2"}"#,
            400,
            error(11, "etcdserver: mvcc: required revision has been compacted"),
        ),
    ];
    for (path, request, status, expected) in cases {
        let answer = http.post(&format!("/v3/kv/{path}"), request).await;
        let shown = format!("{path} {request}");
        assert_eq!(without_ids(&answer.text), expected, "{shown}");
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.header("content-type"), "application/json", "{shown}");
    }
    // What cannot be read is refused with etcd's code; the words are the decoder's.
    for request in [
        "{\"key\":",
        "[]",
        "{\"key\":\"!!\"}",
        "{\"key\":\"Zm9v\",\"lease\":\"x\"}",
        "{\"key\":\"Zm9v\",\"sort_order\":\"SIDEWAYS\"}",
    ] {
        let path = if request.contains("sort") {
            "range"
        } else {
            "put"
        };
        let answer = http.post(&format!("/v3/kv/{path}"), request).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.text);
        assert!(
            answer.text.contains("\"code\":3,"),
            "{request}: {}",
            answer.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_and_maintenance_answer_as_etcd() {
    let members = cluster(1, &[]).await;
    let place = &members[0].place;
    let http = Http::new(&place.client_address);
    // The member publishes its client URLs soon after it serves.
    let list = loop {
        let list = http.post("/v3/cluster/member/list", "{}").await;
        if list.text.contains("clientURLs") {
            break list;
        }
    };
    let (before, after) = list.text.split_once("\"members\":").unwrap();
    assert!(!before.contains("revision"), "{}", list.text);
    let id_end = after.find(",\"name\"").unwrap();
    assert!(after.starts_with("[{\"ID\":\""), "{after}");
    assert_eq!(
        &after[id_end..],
        format!(
            ",\"name\":\"m1\",\"peerURLs\":[\"{}\"],\"clientURLs\":[\"{}\"]}}]}}",
            place.peer_url(),
            place.client_url()
        )
    );
    let status = http.post("/v3/maintenance/status", "{}").await;
    let value: serde_json::Value = serde_json::from_str(&status.text).unwrap();
    for field in [
        "dbSize",
        "leader",
        "raftIndex",
        "raftTerm",
        "raftAppliedIndex",
    ] {
        assert!(value[field].is_string(), "{field}: {}", status.text);
    }
    assert_eq!(
        value["isLearner"],
        serde_json::Value::Null,
        "defaults are left out"
    );
    for path in ["/v3/maintenance/alarm", "/v3beta/maintenance/alarm"] {
        let alarm = http
            .post(path, r#"{"action":"GET","alarm":"NOSPACE"}"#)
            .await;
        assert_eq!(
            without_ids(&alarm.text),
            "{\"header\":{\"revision\":\"1\"}}"
        );
    }
    let hash = http.post("/v3/maintenance/hashkv", "{}").await;
    let value: serde_json::Value = serde_json::from_str(&hash.text).unwrap();
    assert!(value["hash"].is_u64(), "{}", hash.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_do_not_exist() {
    let members = cluster(1, &["--max-request-bytes=4096"]).await;
    let http = Http::new(&members[0].place.client_address);
    for (method, path, status, body) in [
        ("POST", "/v3/nothing", 404, "Not Found\n"),
        ("GET", "/v3/kv/range", 405, "Method Not Allowed\n"),
        ("GET", "/", 404, "404 page not found\n"),
        ("POST", "/health", 405, "Method Not Allowed\n"),
        ("POST", "/version", 405, "Method Not Allowed\n"),
        ("GET", "/readyz/nothing", 404, "404 page not found\n"),
    ] {
        let answer = http.send(method, path, "").await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (status, body),
            "{method} {path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    // A body is bounded before it is read.
    let large = format!("{{\"key\":\"{}\"}}", "A".repeat(4 << 20));
    let answer = http.post("/v3/kv/put", &large).await;
    assert_eq!(answer.status, 429, "{}", answer.text);
    // Deep nesting is refused, not followed.
    let deep = "{\"compare\":[".repeat(50_000);
    assert_eq!(http.post("/v3/kv/txn", &deep).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_table_has_a_method_or_is_not_found() {
    let members = cluster(1, &[]).await;
    let http = Http::new(&members[0].place.client_address);
    for (path, grpc) in vetcd::api::http::GATEWAY_PATHS {
        let defined = vetcd::api::descriptors::method(grpc).is_some();
        if grpc.ends_with("/Watch") || grpc.ends_with("/Observe") || grpc.ends_with("/Campaign") {
            continue;
        }
        let answer = http.post(&format!("/v3{path}"), "{}").await;
        let found = answer.text != "Not Found\n";
        assert_eq!(found, defined, "{path}: {} {}", answer.status, answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_as_etcd_tells_it() {
    let members = cluster(1, &[]).await;
    let http = Http::new(&members[0].place.client_address);
    for path in [
        "/health",
        "/health?exclude=NOSPACE",
        "/health?serializable=true",
        "/health?exclude=NOSPACE&exclude=CORRUPT",
    ] {
        let answer = http.get(path).await;
        assert_eq!(
            answer.text, "{\"health\":\"true\",\"reason\":\"\"}",
            "{path}"
        );
        assert_eq!(answer.status, 200);
    }
    for (path, body) in [
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
        ("/livez/serializable_read", "ok\n"),
        (
            "/readyz/linearizable_read?verbose",
            "[+]linearizable_read ok\nok\n",
        ),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        (
            "/readyz?verbose&exclude=linearizable_read",
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read excluded: ok\n\
             [+]non_learner ok\nok\n",
        ),
    ] {
        let answer = http.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, body), "{path}");
    }
    let version = http.get("/version").await;
    assert_eq!(
        version.text,
        "{\"etcdserver\":\"3.6.0\",\"etcdcluster\":\"3.6.0\",\"storage\":\"3.6.0\"}"
    );
    assert_eq!(version.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_quorum_is_alive_and_neither_healthy_nor_ready() {
    // The other members never start.
    let places = places(3);
    let mut member = Member::new(&places[0], &places, &["--election-timeout=500"]);
    member.start();
    let http = Http::new(&places[0].client_address);
    http.wait_until_served().await;
    let answer = http.get("/health").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text,
        "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}"
    );
    assert_eq!(http.get("/livez").await.status, 200);
    assert_eq!(http.get("/health?serializable=true").await.status, 200);
    let ready = http.get("/readyz?exclude=serializable_read").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .text
            .contains("[-]linearizable_read failed: etcdserver: request timed out\n"),
        "{}",
        ready.text
    );
    let ready = http.get("/readyz?exclude=linearizable_read").await;
    assert_eq!((ready.status, ready.text.as_str()), (200, "ok\n"));
    let metrics = http.get("/metrics").await.text;
    assert!(metrics.contains("\netcd_server_has_leader 0\n"));
    assert!(
        metrics.contains("\netcd_server_health_failures 1\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_serve_what_they_are_for() {
    let extra = places(1).remove(0);
    let metrics_url = format!("--listen-metrics-urls=http://{}", extra.client_address);
    let http_url = format!("--listen-client-http-urls=http://{}", extra.peer_address);
    let members = cluster(1, &[&metrics_url, &http_url]).await;
    let client = Http::new(&members[0].place.client_address);
    let metrics = Http::new(&extra.client_address);
    let http = Http::new(&extra.peer_address);
    let statuses = |path: &'static str| {
        let (client, metrics, http) = (&client, &metrics, &http);
        async move {
            let get = |http: &Http| {
                let http = http.clone();
                async move { http.get(path).await.status }
            };
            [get(client).await, get(metrics).await, get(http).await]
        }
    };
    assert_eq!(statuses("/metrics").await, [200, 200, 200]);
    assert_eq!(statuses("/health").await, [200, 200, 200]);
    // The gateway is served where HTTP is.
    assert_eq!(statuses("/v3/kv/range").await, [404, 404, 405]);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_names_that_alerts_use() {
    let members = cluster(3, &["--metrics=extensive"]).await;
    let http = Http::new(&members[0].place.client_address);
    http.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#)
        .await;
    http.post("/v3/kv/put", "{}").await;
    http.get("/health").await;
    let text = loop {
        // Heartbeats are answered, and the store is committed, within moments.
        let text = http.get("/metrics").await.text;
        let done = !text.contains("etcd_mvcc_db_total_size_in_use_in_bytes 0\n");
        if done && text.contains("etcd_network_peer_received_bytes_total{") {
            break text;
        }
    };
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("{name} is missing:\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(value("etcd_server_has_leader"), 1.0);
    assert_eq!(value("etcd_server_is_learner"), 0.0);
    assert_eq!(value("etcd_server_health_success"), 1.0);
    assert_eq!(value("etcd_mvcc_put_total"), 1.0);
    assert_eq!(value("etcd_debugging_mvcc_current_revision"), 2.0);
    assert_eq!(value("etcd_server_proposals_pending"), 0.0);
    for name in [
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"}",
        "etcd_disk_wal_write_bytes_total",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"+Inf\"}",
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "process_open_fds",
        "process_resident_memory_bytes",
        "os_fd_limit",
    ] {
        let value = value(name);
        assert!(value > 0.0 || name.contains("bucket"), "{name} is {value}");
    }
    for labelled in [
        "etcd_network_peer_sent_bytes_total{To=\"",
        "etcd_network_peer_received_bytes_total{From=\"",
        "etcd_network_peer_sent_failures_total{To=\"",
        "etcd_network_active_peers{Local=\"",
        "etcd_server_version{server_version=\"3.6.0\"} 1",
        "etcd_cluster_version{cluster_version=\"3.6\"} 1",
        "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\",version=\"v3\"} 1",
    ] {
        assert!(text.contains(labelled), "{labelled}:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_is_served() {
    use vetcd::api::proto::health::HealthCheckRequest;
    use vetcd::api::proto::health::health_check_response::ServingStatus;
    use vetcd::api::proto::health::health_client::HealthClient;

    let members = cluster(1, &[]).await;
    let host = vetcd::host::os::OsHost::new(tokio::runtime::Handle::current());
    let address = &members[0].place.client_address;
    let channel = vetcd::client::Channel::connect(std::sync::Arc::new(host), address);
    let mut client = HealthClient::new(channel.await.unwrap());
    let whole = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(whole.into_inner().status(), ServingStatus::Serving);
    let service = "nothing".to_owned();
    let unknown = client
        .check(HealthCheckRequest { service })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let watched = client.watch(HealthCheckRequest::default()).await.unwrap();
    let first = watched.into_inner().message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
}
