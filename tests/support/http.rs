//! Plain HTTP/1.1 for tests: one request a connection, over TCP or whatever stream is given.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks one address.
#[derive(Clone)]
pub struct Http {
    address: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    /// A header's value, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Http {
    pub fn new(address: &str) -> Http {
        Http {
            address: address.to_owned(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body).await
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        ask(stream, method, path, body).await.unwrap()
    }

    /// Waits until somebody accepts connections.
    pub async fn wait_until_served(&self) {
        let begin = Instant::now();
        while TcpStream::connect(&self.address).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "nobody serves");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends a request on `stream` and reads the answer to its end.
pub async fn ask(
    stream: impl AsyncRead + AsyncWrite,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    ask_as(stream, method, path, "", body).await
}

/// As [`ask`], with a token in the `Authorization` header unless it is empty.
pub async fn ask_as(
    stream: impl AsyncRead + AsyncWrite,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let (mut read, mut write) = tokio::io::split(stream);
    let request = request(method, path, token, body);
    let sending = async {
        // A server may answer, and close, before it has read everything.
        let _ = write.write_all(request.as_bytes()).await;
        let _ = write.flush().await;
    };
    let mut bytes = Vec::new();
    let reading = async { read.read_to_end(&mut bytes).await };
    let ((), read) = tokio::join!(sending, reading);
    if bytes.is_empty() {
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if !bytes.starts_with(b"HTTP/1.1 ") {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    Ok(parse(&bytes))
}

fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: {token}\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: vetcd\r\nConnection: close\r\n{authorization}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer that is read line by line while it comes.
pub struct Opened {
    stream: TcpStream,
    bytes: Vec<u8>,
    ended: bool,
    taken: usize,
}

impl Opened {
    /// Sends a request and waits for nothing.
    pub async fn post(address: &str, path: &str, token: &str, body: &str) -> Opened {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = request("POST", path, token, body);
        stream.write_all(request.as_bytes()).await.unwrap();
        Opened {
            stream,
            bytes: Vec::new(),
            ended: false,
            taken: 0,
        }
    }

    /// The status and the next line of the body, or what there is of it when the answer ends.
    pub async fn next(&mut self) -> (u16, String) {
        loop {
            let whole = self.bytes.windows(4).any(|found| found == b"\r\n\r\n");
            if whole {
                let answer = parse(&self.bytes);
                let rest = &answer.text[self.taken..];
                let end = rest.find('\n').map(|end| end + 1);
                if let Some(end) = end.or(self.ended.then_some(rest.len())) {
                    self.taken += end;
                    return (answer.status, rest[..end].trim_end().to_owned());
                }
            }
            let mut piece = [0; 64 << 10];
            let count = self.stream.read(&mut piece).await.unwrap();
            self.bytes.extend_from_slice(&piece[..count]);
            self.ended = count == 0;
            assert!(whole || !self.ended, "the answer ends before its body");
        }
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned()));
    Answer {
        status: status.parse().unwrap(),
        headers,
        text: match chunked {
            true => unchunk(body),
            false => body.to_owned(),
        },
    }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 || rest.len() < size + 2 {
            // The end, or as far as it has come.
            break;
        }
        text.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    text
}
