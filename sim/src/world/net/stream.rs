//! The process's side of a connection: `host::Stream` over the kernel's pipes.
//!
//! A stream belongs to one life of its process. Once that life is over it refuses to act, and
//! dropping it does nothing: the kernel has closed the socket, or has gone with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vetcd::host::Stream;

use super::Network;
use crate::world::node::Life;

pub(super) struct SimStream {
    pub(super) network: Network,
    pub(super) life: Life,
    pub(super) id: u64,
    pub(super) end: usize,
    pub(super) peer: String,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.life.check()?;
        self.network.core().read(self.id, self.end, buffer, context)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.life.check()?;
        self.network.core().write(self.id, self.end, parts, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written bytes are the kernel's already.
        Poll::Ready(self.life.check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.life.check()?;
        self.network.core().shut_down_writing(self.id, self.end);
        Poll::Ready(Ok(()))
    }
}

impl Stream for SimStream {
    fn peer_address(&self) -> String {
        self.peer.clone()
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.life.is_current() {
            self.network.core().close(self.id, self.end);
        }
    }
}
