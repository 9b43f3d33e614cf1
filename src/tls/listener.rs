//! A listener whose streams speak TLS.
//!
//! Accepting must not wait for a client's handshake, which may never come: a stream is handed out at
//! once and shakes hands when it is first read or written. Whoever serves it bounds how long it may
//! take until the first bytes arrive, and with them the handshake.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::ServerSide;
use super::common_name;
use crate::host::{Accepting, Identity, Listener, Stream};

/// Wraps what `listener` accepts, if there is a configuration.
pub fn listener(listener: Box<dyn Listener>, config: Option<Arc<ServerSide>>) -> Box<dyn Listener> {
    match config {
        Some(config) => Box::new(TlsListener { listener, config }),
        None => listener,
    }
}

struct TlsListener {
    listener: Box<dyn Listener>,
    config: Arc<ServerSide>,
}

impl Listener for TlsListener {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async move {
            let stream = self.listener.accept().await?;
            let config = self.config.current().await;
            let stream: Box<dyn Stream> = Box::new(LazyStream {
                peer: stream.peer_address(),
                identity: Identity::default(),
                state: State::Shaking(Box::new(TlsAcceptor::from(config).accept(stream))),
            });
            Ok(stream)
        })
    }

    fn local_address(&self) -> String {
        self.listener.local_address()
    }
}

/// A stream on which hands are shaken.
type Opened = TlsStream<Box<dyn Stream>>;

enum State {
    Shaking(Box<Accept<Box<dyn Stream>>>),
    Open(Box<Opened>),
    Failed,
}

struct LazyStream {
    peer: String,
    identity: Identity,
    state: State,
}

impl LazyStream {
    /// The stream, once hands are shaken.
    fn opened(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Opened>>> {
        if let State::Shaking(accept) = &mut self.state {
            match Pin::new(accept.as_mut()).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => {
                    let (_, connection) = stream.get_ref();
                    if let Some(chain) = connection.peer_certificates()
                        && let Some(own) = chain.first()
                    {
                        self.identity.prove(common_name(own));
                    }
                    self.state = State::Open(Box::new(stream));
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(peer = self.peer, %error, "TLS handshake failed");
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Stream for LazyStream {
    fn peer_address(&self) -> String {
        self.peer.clone()
    }

    fn identity(&self) -> Option<Identity> {
        Some(self.identity.clone())
    }
}

impl AsyncRead for LazyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = std::task::ready!(self.opened(cx))?;
        stream.poll_read(cx, buffer)
    }
}

impl AsyncWrite for LazyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = std::task::ready!(self.opened(cx))?;
        stream.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = std::task::ready!(self.opened(cx))?;
        stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            // Nobody waits for the end of a handshake that is given up.
            _ => Poll::Ready(Ok(())),
        }
    }
}
