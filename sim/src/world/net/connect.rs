//! Establishing connections: listeners, their accept queues, and the handshake.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use vetcd::host::{Listener, Stream};

use super::Network;
use super::core::{Accepting, Core};
use super::pipe::Conn;
use super::stream::SimStream;
use crate::world::NodeId;
use crate::world::node::Life;
use crate::world::timeline::{Timeline, nanos};
use crate::world::trace::EventKind;

/// Names by which a process means its own machine.
const OWN_NAMES: [&str; 5] = ["localhost", "127.0.0.1", "0.0.0.0", "[::]", "[::1]"];

/// Splits `host:port` and finds the node: `host` is a node's name or means `own`.
fn resolve(core: &Core, own: NodeId, address: &str) -> io::Result<(NodeId, u16)> {
    let invalid = || {
        let text = format!("\"{address}\" is not an address of the form host:port");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    if host.is_empty() || OWN_NAMES.contains(&host) {
        return Ok((own, port));
    }
    let node = core.find_host(host).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no host named \"{host}\""),
        )
    })?;
    Ok((node, port))
}

/// Listens on `address`; port 0 asks for any free port.
pub(crate) fn listen(
    network: &Network,
    life: &Life,
    address: &str,
) -> io::Result<Box<dyn Listener>> {
    life.check()?;
    let mut core = network.core();
    let own = life.node_id();
    let (node, port) = resolve(&core, own, address)?;
    if node != own {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let port = match port {
        0 => core.ephemeral_port(own).ok_or(io::ErrorKind::AddrInUse)?,
        port => port,
    };
    if core.listeners.contains_key(&(own, port)) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    core.listeners.insert(
        (own, port),
        Accepting {
            queue: VecDeque::new(),
            waker: None,
        },
    );
    let address = format!("{}:{port}", core.name(own));
    drop(core);
    Ok(Box::new(SimListener {
        network: network.clone(),
        life: life.clone(),
        port,
        address,
    }))
}

struct SimListener {
    network: Network,
    life: Life,
    port: u16,
    address: String,
}

impl SimListener {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        self.life.check()?;
        let mut core = self.network.core();
        let node = self.life.node_id();
        let Some(accepting) = core.listeners.get_mut(&(node, self.port)) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some((id, peer)) = accepting.queue.pop_front() else {
            accepting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(core);
        let (network, life) = (self.network.clone(), self.life.clone());
        Poll::Ready(Ok(Box::new(SimStream {
            network,
            life,
            id,
            end: 1,
            peer,
        })))
    }
}

impl Listener for SimListener {
    fn accept(&mut self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(std::future::poll_fn(|context| self.poll_accept(context)))
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if !self.life.is_current() {
            return;
        }
        let mut core = self.network.core();
        let queue = core.listeners.remove(&(self.life.node_id(), self.port));
        for (id, _) in queue.into_iter().flat_map(|accepting| accepting.queue) {
            core.close(id, 1);
        }
    }
}

/// What became of one connection request.
enum Answer {
    /// The server's kernel took it; its answer arrives after this many nanoseconds.
    Accepted(SimStream, u64),
    /// Nobody listens; the refusal arrives after this many nanoseconds.
    Refused(u64),
    /// Nothing came back.
    Silence,
}

/// Connects to `address`: a round trip, or a long silence.
pub(crate) async fn connect(
    network: Network,
    life: Life,
    timeline: Timeline,
    address: String,
) -> io::Result<Box<dyn Stream>> {
    life.check()?;
    let own = life.node_id();
    let (node, port, start_ns, mut retry_ns, timeout_ns) = {
        let core = network.core();
        let (node, port) = resolve(&core, own, &address)?;
        let retry_ns = nanos(core.config.connect_retry).max(1);
        (
            node,
            port,
            timeline.now_ns(),
            retry_ns,
            nanos(core.config.connect_timeout),
        )
    };
    let deadline_ns = start_ns + timeout_ns;
    let mut next_ns = start_ns;
    loop {
        next_ns = (next_ns + retry_ns).min(deadline_ns);
        retry_ns = retry_ns.saturating_mul(2);
        let travel_ns = {
            let mut core = network.core();
            core.reachable(own, node)
                .then(|| core.handshake_ns(own, node))
        };
        if let Some(travel_ns) = travel_ns {
            timeline.sleep_until(timeline.now_ns() + travel_ns).await;
            life.check()?;
            match request(&network, &life, node, port, &address) {
                Answer::Accepted(stream, back_ns) => {
                    timeline.sleep_until(timeline.now_ns() + back_ns).await;
                    // The answer is repeated until it gets through.
                    while !network.core().reachable(node, own) {
                        if timeline.now_ns() >= deadline_ns {
                            return Err(io::ErrorKind::TimedOut.into());
                        }
                        timeline
                            .sleep_until(next_ns.max(timeline.now_ns() + 1))
                            .await;
                        next_ns = (next_ns + retry_ns).min(deadline_ns);
                        retry_ns = retry_ns.saturating_mul(2);
                    }
                    life.check()?;
                    return Ok(Box::new(stream));
                }
                Answer::Refused(back_ns) => {
                    timeline.sleep_until(timeline.now_ns() + back_ns).await;
                    if network.core().reachable(node, own) {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                }
                Answer::Silence => {}
            }
        }
        if timeline.now_ns() >= deadline_ns {
            return Err(io::ErrorKind::TimedOut.into());
        }
        timeline.sleep_until(next_ns).await;
        life.check()?;
    }
}

/// The request arrives at `node`, if the way was not cut meanwhile.
fn request(network: &Network, life: &Life, node: NodeId, port: u16, address: &str) -> Answer {
    let own = life.node_id();
    let mut core = network.core();
    if !core.reachable(own, node) || !core.reachable(node, own) {
        return Answer::Silence;
    }
    let backlog = core.config.backlog;
    let waiting = core
        .listeners
        .get(&(node, port))
        .map(|accepting| accepting.queue.len());
    let back_ns = core.handshake_ns(node, own);
    match waiting {
        None => {
            core.note(own, EventKind::Connect, [0, u64::from(node.0), 1]);
            return Answer::Refused(back_ns);
        }
        Some(waiting) if waiting >= backlog => return Answer::Silence,
        Some(_) => {}
    }
    let id = core.next_conn_id();
    core.note(own, EventKind::Connect, [id, u64::from(node.0), 0]);
    core.counters.connections += 1;
    core.conns.insert(id, Conn::new(own, node));
    let port_here = core.ephemeral_port(own).unwrap_or(0);
    let peer = format!("{}:{port_here}", core.name(own));
    if let Some(accepting) = core.listeners.get_mut(&(node, port)) {
        accepting.queue.push_back((id, peer));
        if let Some(waker) = accepting.waker.take() {
            waker.wake();
        }
    }
    drop(core);
    let (network, life) = (network.clone(), life.clone());
    let peer = address.to_owned();
    Answer::Accepted(
        SimStream {
            network,
            life,
            id,
            end: 0,
            peer,
        },
        back_ns,
    )
}

impl Core {
    /// How long a handshake packet travels now, lost ones sent again included.
    fn handshake_ns(&mut self, from: NodeId, to: NodeId) -> u64 {
        let now_ns = self.timeline.now_ns();
        let backoff = self.backoff();
        let passage = self.link_mut(from, to).send(now_ns, 0, backoff);
        self.counters.lost += u64::from(passage.losses);
        passage.arrives_ns - now_ns
    }
}
