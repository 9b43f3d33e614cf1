//! Clients that do not behave, and what a snapshot's stream adds up to.

use std::time::{Duration, Instant};

use base64::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Http, Opened};
use crate::process::cluster;

/// Puts `value` under `key`; both are base64 already.
async fn put(http: &Http, key: &str, value: &str) {
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    assert_eq!(http.post("/v3/kv/put", &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_a_database_with_its_checksum() {
    let members = cluster(1, &[]).await;
    let http = Http::new(&members[0].place.client_address);
    put(&http, "a2V5", &"QUJD".repeat(20_000)).await;
    let answer = http.post("/v3/maintenance/snapshot", "").await;
    assert_eq!(answer.status, 200);
    let mut database = Vec::new();
    let mut remaining = u64::MAX;
    for line in answer.text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let result = &value["result"];
        let blob = result["blob"].as_str().unwrap();
        let blob = base64::engine::general_purpose::STANDARD.decode(blob);
        database.extend(blob.unwrap());
        // A number of no bytes is left out, as every default is.
        let rest = result["remaining_bytes"].as_str().unwrap_or("0");
        let rest: u64 = rest.parse().unwrap();
        assert!(rest < remaining || rest == 0, "{rest} after {remaining}");
        remaining = rest;
    }
    assert_eq!(remaining, 0);
    let (database, checksum) = database.split_at(database.len() - 32);
    use sha2::Digest;
    assert_eq!(sha2::Sha256::digest(database)[..], *checksum);
    // bbolt's magic number, in its first page.
    assert_eq!(database[16..20], 0xED0C_DAED_u32.to_le_bytes());
    assert!(database.windows(6).any(|bytes| bytes == b"ABCABC"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_or_dawdle() {
    let members = cluster(1, &["--max-request-bytes=4096"]).await;
    let address = &members[0].place.client_address;
    let http = Http::new(address);

    // A body that is announced and does not come; half a head; a request cut in the middle.
    let mut dawdlers = Vec::new();
    for sent in [
        "POST /v3/kv/put HTTP/1.1\r\nHost: v\r\nContent-Length: 100\r\n\r\n{\"key\":",
        "POST /v3/kv/put HTT",
        "",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        dawdlers.push(stream);
    }
    let cut = "POST /v3/kv/put HTTP/1.1\r\nHost: v\r\nContent-Length: 50\r\n\r\n{\"key\":\"Y3V0\"";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(cut.as_bytes()).await.unwrap();
    drop(stream);
    // Nobody else waits for them, and what was cut off has no effect.
    put(&http, "b3RoZXI=", "MQ==").await;
    let range = http.post("/v3/kv/range", r#"{"key":"Y3V0"}"#).await;
    assert!(!range.text.contains("count"), "{}", range.text);

    // A body byte by byte is as good as any.
    let body = r#"{"key":"c2xvdw==","value":"MQ=="}"#;
    let head = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: v\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in body.bytes() {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    // More than a request may have is refused while it still comes, however it is announced.
    let large = format!("{{\"key\":\"{}\"}}", "A".repeat(4 << 20));
    let refused = http.post("/v3/kv/put", &large).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v3/kv/put HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "A".repeat(0x10000));
    for _ in 0..64 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer));
    if read.await.expect("in time").is_ok() {
        assert_eq!(answer, b"HTTP/1.1 429");
    }
    drop(dawdlers);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_whose_clients_go_or_do_not_read() {
    let members = cluster(1, &[]).await;
    let address = &members[0].place.client_address;
    let http = Http::new(address);
    let body = r#"{"create_request":{"key":"AA==","range_end":"AA=="}}"#;
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut watch = Opened::post(address, "/v3/watch", "", body).await;
        assert!(watch.next().await.1.contains("\"created\":true"));
        silent.push(watch);
    }
    let mut reader = Opened::post(address, "/v3/watch", "", body).await;
    assert!(reader.next().await.1.contains("\"created\":true"));
    // More than any buffer between here and there holds.
    let value = "QUJD".repeat(64 << 10);
    for number in 0..24 {
        put(&http, &format!("YWE{}", (b'A' + number) as char), &value).await;
        let (status, line) = reader.next().await;
        assert_eq!(status, 200);
        assert!(line.contains(&format!("\"mod_revision\":\"{}\"", number + 2)));
    }
    // Those who hang up are forgotten: a stream that holds its connection is alive.
    let streaming = open_files(&http).await;
    drop(silent);
    drop(reader);
    let begin = Instant::now();
    while open_files(&http).await > streaming - 5 {
        assert!(begin.elapsed() < Duration::from_secs(10), "streams stay");
        put(&http, "YQ==", "MQ==").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many files and connections the member has open.
async fn open_files(http: &Http) -> u64 {
    let metrics = http.get("/metrics").await.text;
    let name = "process_open_fds ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}
