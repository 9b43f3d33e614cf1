//! Ports for servers that are started, killed and started again.
//!
//! A port that the system hands out may be taken by any outgoing connection as soon as it is let go, be
//! it while a killed server is down. So these lie below the range that the system hands out from, and
//! are claimed, until this process ends, by holding the same number for UDP.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

const FIRST: u32 = 10_000;
/// Where Linux begins to hand out ports; other systems begin higher.
const END: u32 = 32_768;

static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// Addresses on loopback that nobody uses, for this process alone.
pub fn addresses(count: usize) -> Vec<String> {
    let mut claims = CLAIMS.lock().unwrap_or_else(|e| e.into_inner());
    // Processes begin apart, so that they seldom meet.
    let begin = std::process::id().wrapping_mul(211);
    let candidates = (0..END - FIRST).map(|n| FIRST + begin.wrapping_add(n) % (END - FIRST));
    let mut found = Vec::new();
    for port in candidates.filter_map(|port| u16::try_from(port).ok()) {
        if found.len() == count {
            return found;
        }
        let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            claims.push(claim);
            found.push(format!("127.0.0.1:{port}"));
        }
    }
    panic!("no {count} ports are free");
}
