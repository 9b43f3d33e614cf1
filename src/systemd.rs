//! Telling systemd how far the start has come (`Type=notify`), by its one-datagram protocol.

/// Sends `state` where there can be a systemd.
#[cfg(not(target_os = "linux"))]
pub fn notify(_state: &str) {}

/// Sends `state` to the socket that `NOTIFY_SOCKET` names; nothing when there is none. A failure is
/// systemd's to notice.
#[cfg(target_os = "linux")]
pub fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
