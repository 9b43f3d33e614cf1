//! What the simulated world costs in wall time: `cargo bench -p vetcd-sim --bench world`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vetcd::host::{BoxFuture, Host, HostExt, OpenMode};
use vetcd_sim::world::{self, NodeConfig, World};

const ROUND_TRIPS: u64 = 200_000;
const WRITES: u64 = 200_000;

async fn serve(host: Arc<dyn Host>) -> io::Result<()> {
    let mut listener = host.listen("server:1").await?;
    loop {
        let mut stream = listener.accept().await?;
        let echo = async move {
            let mut message = [0; 64];
            while stream.read_exact(&mut message).await.is_ok() {
                if stream.write_all(&message).await.is_err() {
                    break;
                }
            }
        };
        host.spawn("echo", Box::pin(echo));
    }
}

async fn call(host: Arc<dyn Host>, count: u64) -> io::Result<()> {
    let mut stream = host.connect("server:1").await?;
    let mut message = [7; 64];
    for _ in 0..count {
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
    }
    Ok(())
}

async fn write_and_sync(host: Arc<dyn Host>) {
    for round in 0..WRITES {
        let disk = host.disk();
        let write = move || -> io::Result<()> {
            let file = disk.open("log".as_ref(), OpenMode::OpenOrCreate)?;
            file.write_at((round % 4096) * 4096, &[round as u8; 4096])?;
            file.sync_data()
        };
        let written = host.run_blocking(write).await;
        assert!(matches!(written, Some(Ok(()))), "the disk has no faults");
    }
}

fn quiet(task: impl Future<Output = io::Result<()>> + Send + 'static) -> BoxFuture<()> {
    Box::pin(async move { drop(task.await) })
}

async fn echo_scenario(world: World, clients: u64) {
    let server = world.add_node("server", NodeConfig::default());
    world.start(server, |host| quiet(serve(host)));
    world.sleep(Duration::from_millis(1)).await;
    let start = |number| {
        let node = world.add_node(&format!("client{number}"), NodeConfig::default());
        world.start(node, move |host| quiet(call(host, ROUND_TRIPS / clients)));
        node
    };
    let nodes: Vec<_> = (0..clients).map(start).collect();
    for node in nodes {
        world.wait_down(node).await;
    }
}

async fn disk_scenario(world: World) {
    let node = world.add_node("m1", NodeConfig::default());
    world.start(node, |host| Box::pin(write_and_sync(host)));
    world.wait_down(node).await;
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn measure<F: Future<Output = ()>>(
    what: &str,
    count: u64,
    scenario: impl FnOnce(World) -> F + Send + 'static,
) {
    let from = Instant::now();
    let outcome = world::run(1, scenario);
    let wall = from.elapsed();
    let virtual_ns = outcome.map_or(0, |outcome| outcome.virtual_ns);
    println!(
        "{what}: {:.0} a second, {:.2} us each; {:.1} virtual seconds in {:.2}",
        count as f64 / wall.as_secs_f64(),
        wall.as_secs_f64() * 1e6 / count as f64,
        virtual_ns as f64 / 1e9,
        wall.as_secs_f64(),
    );
}

fn main() {
    measure("warm-up", 1, |_| async {});
    measure("echo round trips, 1 client", ROUND_TRIPS, |world| {
        echo_scenario(world, 1)
    });
    measure("echo round trips, 16 clients", ROUND_TRIPS, |world| {
        echo_scenario(world, 16)
    });
    measure("4 KiB write and sync", WRITES, disk_scenario);
}
