//! TCP: listeners and streams with Nagle's algorithm off, and errors that name the address.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::host::{Listener, Stream};

/// Listens on `address`. The error keeps its kind (`AddrInUse` for a port in use).
pub(super) async fn listen(address: &str) -> io::Result<Box<dyn Listener>> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| naming("listen on", address, &error))?;
    let local_address = listener.local_addr()?.to_string();
    Ok(Box::new(OsListener {
        listener,
        local_address,
    }))
}

/// Connects to `address`. The error keeps its kind (`ConnectionRefused` when nobody listens).
pub(super) async fn connect(address: &str) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| naming("connect to", address, &error))?;
    Ok(Box::new(OsStream::new(stream, address.to_owned())))
}

fn naming(what: &str, address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {address}: {error}"))
}

struct OsListener {
    listener: TcpListener,
    local_address: String,
}

impl Listener for OsListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            let stream: Box<dyn Stream> = Box::new(OsStream::new(stream, peer.to_string()));
            Ok(stream)
        })
    }

    fn local_address(&self) -> String {
        self.local_address.clone()
    }
}

struct OsStream {
    stream: TcpStream,
    peer: String,
}

impl OsStream {
    fn new(stream: TcpStream, peer: String) -> OsStream {
        if let Err(error) = stream.set_nodelay(true) {
            // Slower, but correct: the peer may already be gone, which the first read will tell.
            tracing::debug!(peer, %error, "cannot turn Nagle's algorithm off");
        }
        OsStream { stream, peer }
    }
}

impl Stream for OsStream {
    fn peer_address(&self) -> String {
        self.peer.clone()
    }
}

impl AsyncRead for OsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for OsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
