//! Each claim of the network's fault model, shown to bite.

#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vetcd::host::{Host, HostExt, Stream};

use super::*;
use crate::world::{self, NodeConfig, PowerLoss, World};

const MS: Duration = Duration::from_millis(1);

/// Where a test's processes write what they saw: (virtual milliseconds, what).
#[derive(Clone)]
struct Log {
    world: World,
    lines: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Log {
    fn new(world: &World) -> Log {
        Log {
            world: world.clone(),
            lines: Arc::default(),
        }
    }

    fn say(&self, line: impl Into<String>) {
        lock(&self.lines).push((self.world.now_ns() / 1_000_000, line.into()));
    }

    fn lines(&self) -> Vec<(u64, String)> {
        lock(&self.lines).clone()
    }

    /// The time of the only line that starts with `prefix`.
    fn time_of(&self, prefix: &str) -> u64 {
        let lines = self.lines();
        let found: Vec<_> = lines
            .iter()
            .filter(|(_, line)| line.starts_with(prefix))
            .collect();
        assert_eq!(found.len(), 1, "{prefix:?} in {lines:?}");
        found[0].0
    }

    fn has(&self, prefix: &str) -> bool {
        self.lines()
            .iter()
            .any(|(_, line)| line.starts_with(prefix))
    }
}

/// Two nodes with links of a constant millisecond.
fn two_nodes(world: &World) -> (NodeId, NodeId) {
    let a = world.add_node("a", NodeConfig::default());
    let b = world.add_node("b", NodeConfig::default());
    let link = LinkConfig {
        latency: Latency::constant(MS),
        loss: 0.0,
        bandwidth: None,
    };
    world.net().set_link(a, b, Direction::Both, &link);
    (a, b)
}

/// Accepts on b:1 and logs everything each connection brings.
fn start_sink(world: &World, node: NodeId, log: &Log) {
    let log = log.clone();
    world.start(node, move |host| {
        Box::pin(async move {
            let mut listener = host.listen("0.0.0.0:1").await.unwrap();
            loop {
                let mut stream = listener.accept().await.unwrap();
                log.say("accepted");
                let log = log.clone();
                let reader = async move {
                    let mut buffer = [0; 64 * 1024];
                    loop {
                        match stream.read(&mut buffer).await {
                            Ok(0) => break log.say("sink: end"),
                            Ok(count) if count > 4096 => log.say(format!("sink: {count} bytes")),
                            Ok(count) => {
                                let text = String::from_utf8_lossy(&buffer[..count]);
                                log.say(format!("sink: {text}"));
                            }
                            Err(e) => break log.say(format!("sink: {:?}", e.kind())),
                        }
                    }
                };
                host.spawn("reader", Box::pin(reader));
            }
        })
    });
}

/// Connects to b:1 and writes `text` every `interval`, logging what goes wrong and what comes back.
fn start_source(world: &World, node: NodeId, log: &Log, interval: Duration) {
    let log = log.clone();
    world.start(node, move |host| {
        Box::pin(async move {
            let mut stream = match host.connect("b:1").await {
                Ok(stream) => stream,
                Err(e) => return log.say(format!("connect: {:?}", e.kind())),
            };
            log.say("connected");
            for count in 0.. {
                if let Err(e) = stream.write_all(format!("m{count};").as_bytes()).await {
                    log.say(format!("source: {:?}", e.kind()));
                    break;
                }
                host.sleep(interval).await;
            }
        })
    });
}

async fn seconds(world: &World, seconds: f64) {
    world.sleep(Duration::from_secs_f64(seconds)).await;
}

#[test]
fn bytes_arrive_in_order_after_the_latency() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        seconds(&world, 0.1).await;
        start_source(&world, a, &log, MS * 100);
        seconds(&world, 0.35).await;
        let counters = world.net().counters();
        (log.lines(), counters)
    });
    let (lines, counters) = outcome.unwrap().output;
    let expected = [
        (101, "accepted"),
        (102, "connected"),
        (103, "sink: m0;"),
        (203, "sink: m1;"),
        (303, "sink: m2;"),
        (403, "sink: m3;"),
    ];
    let lines: Vec<_> = lines
        .iter()
        .map(|(at, line)| (*at, line.as_str()))
        .collect();
    assert_eq!(lines, expected);
    assert_eq!(
        (counters.segments, counters.bytes, counters.delivered),
        (4, 12, 12)
    );
}

#[test]
fn a_cut_hangs_instead_of_refusing_and_the_connection_comes_after_the_heal() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        world.net().cut(a, b, Direction::Both);
        start_source(&world, a, &log, MS * 100);
        seconds(&world, 5.0).await;
        assert!(!log.has("connect"), "{:?}", log.lines());
        world.net().heal_all();
        seconds(&world, 5.0).await;
        // Requests went out at 0, 1, 3 and 7 seconds.
        let at = log.time_of("connected");
        assert!((7000..7010).contains(&at), "{at}");
    });
    outcome.unwrap();
}

#[test]
fn a_connection_attempt_times_out_across_a_lasting_cut() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        // One direction is enough.
        world.net().cut(a, b, Direction::BToA);
        start_source(&world, a, &log, MS);
        seconds(&world, 60.0).await;
        assert_eq!(log.time_of("connect: TimedOut") / 1000, 20);
        assert!(!log.has("accepted"));
    });
    outcome.unwrap();
}

#[test]
fn a_closed_port_refuses_after_a_round_trip_and_an_unknown_host_at_once() {
    let outcome = world::run(1, |world| async move {
        let (a, _) = two_nodes(&world);
        let log = Log::new(&world);
        let seen = log.clone();
        world.start(a, move |host| {
            Box::pin(async move {
                let refused = host.connect("b:1").await.err().map(|e| e.kind());
                seen.say(format!("b: {refused:?}"));
                let unknown = host.connect("c:1").await.err().map(|e| e.kind());
                seen.say(format!("c: {unknown:?}"));
                let invalid = host.connect("b").await.err().map(|e| e.kind());
                seen.say(format!("port: {invalid:?}"));
            })
        });
        seconds(&world, 1.0).await;
        log.lines()
    });
    let expected = [
        (2, "b: Some(ConnectionRefused)"),
        (2, "c: Some(NotFound)"),
        (2, "port: Some(InvalidInput)"),
    ];
    let lines = outcome.unwrap().output;
    let lines: Vec<_> = lines
        .iter()
        .map(|(at, line)| (*at, line.as_str()))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn what_is_written_into_a_cut_is_held_and_arrives_late_and_whole() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, MS * 250);
        seconds(&world, 1.1).await;
        world.net().cut(a, b, Direction::Both);
        assert!(log.has("sink: m4;"));
        seconds(&world, 4.0).await;
        assert!(!log.has("sink: m5;"), "{:?}", log.lines());
        assert!(!log.has("source:"), "nobody is told: {:?}", log.lines());
        assert!(world.net().counters().held > 0);
        let healed_ms = world.now_ns() / 1_000_000;
        world.net().heal(a, b, Direction::Both);
        seconds(&world, 4.0).await;
        let lines = log.lines();
        let late = lines
            .iter()
            .find(|(_, line)| line.starts_with("sink: m5;"))
            .unwrap();
        assert!(
            late.0 > healed_ms + 10,
            "waits for the retransmission: {late:?}"
        );
        assert!(late.0 < healed_ms + 3200, "{late:?}");
        assert!(
            late.1.starts_with("sink: m5;m6;m7;m8;"),
            "the backlog in one piece: {late:?}"
        );
    });
    outcome.unwrap();
}

#[test]
fn bytes_on_the_wire_when_the_cut_begins_are_lost_and_sent_again() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let slow = LinkConfig {
            latency: Latency::constant(MS * 100),
            ..world.net().link(a, b)
        };
        world.net().set_link(a, b, Direction::Both, &slow);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, Duration::from_secs(60));
        // Connected after 200 ms; the first bytes would arrive at 300.
        seconds(&world, 0.25).await;
        world.net().cut(a, b, Direction::AToB);
        seconds(&world, 0.1).await;
        world.net().heal(a, b, Direction::AToB);
        seconds(&world, 1.0).await;
        let at = log.time_of("sink: m0;");
        assert!(
            (540..560).contains(&at),
            "lost at 250, sent again 200 later: {at}"
        );
    });
    outcome.unwrap();
}

#[test]
fn a_one_way_cut_stops_one_way() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        for (node, peer, port) in [(a, "b", 2), (b, "a", 2)] {
            let log = log.clone();
            let own = world.name(node);
            world.start(node, move |host| {
                Box::pin(async move {
                    let mut listener = host.listen(&format!("{own}:{port}")).await.unwrap();
                    host.sleep(MS).await;
                    let mut out = host.connect(&format!("{peer}:{port}")).await.unwrap();
                    let mut incoming = listener.accept().await.unwrap();
                    let writer = host.clone();
                    let write = async move {
                        loop {
                            out.write_all(b"x").await.unwrap();
                            writer.sleep(MS * 100).await;
                        }
                    };
                    host.spawn("writer", Box::pin(write));
                    let mut byte = [0];
                    while incoming.read_exact(&mut byte).await.is_ok() {
                        log.say(format!("{own} hears"));
                    }
                })
            });
        }
        seconds(&world, 1.0).await;
        world.net().cut(a, b, Direction::AToB);
        assert!(world.net().is_cut(a, b) && !world.net().is_cut(b, a));
        let before = log.lines().len();
        seconds(&world, 2.0).await;
        let since = log.lines().split_off(before);
        let heard = |who: &str| since.iter().filter(|(_, line)| line == who).count();
        assert_eq!(heard("b hears"), 0);
        assert_eq!(heard("a hears"), 20);
    });
    outcome.unwrap();
}

#[test]
fn a_crash_tells_the_peers_and_a_power_loss_does_not() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, Duration::from_secs(60));
        seconds(&world, 1.0).await;
        world.crash(a);
        seconds(&world, 1.0).await;
        assert_eq!(log.time_of("sink: end"), 1001);
        start_source(&world, a, &log, Duration::from_secs(60));
        seconds(&world, 1.0).await;
        world.power_loss(a, PowerLoss::lose_all());
        seconds(&world, 100.0).await;
        assert_eq!(
            log.time_of("sink: end"),
            1001,
            "only the first: {:?}",
            log.lines()
        );
        assert_eq!(world.net().open_connections(), 1, "half open");
    });
    outcome.unwrap();
}

#[test]
fn a_half_open_connection_is_reset_once_its_holder_writes_to_the_next_kernel() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, MS * 400);
        seconds(&world, 1.0).await;
        world.power_loss(b, PowerLoss::lose_all());
        seconds(&world, 5.0).await;
        assert!(
            !log.has("source:"),
            "writes are held while the machine is off"
        );
        start_sink(&world, b, &log);
        seconds(&world, 4.0).await;
        let at = log.time_of("source: ConnectionReset");
        assert!((6000..9500).contains(&at), "{at}");
    });
    outcome.unwrap();
}

#[test]
fn connecting_to_a_dead_process_is_refused_and_to_a_dead_machine_hangs() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        seconds(&world, 0.1).await;
        world.crash(b);
        start_source(&world, a, &log, MS);
        seconds(&world, 0.1).await;
        assert_eq!(log.time_of("connect: ConnectionRefused"), 102);
        world.power_loss(b, PowerLoss::lose_all());
        start_source(&world, a, &log, MS);
        seconds(&world, 30.0).await;
        assert_eq!(log.time_of("connect: TimedOut") / 1000, 20);
    });
    outcome.unwrap();
}

#[test]
fn a_crash_with_unread_bytes_resets_and_a_reset_in_a_cut_is_lost() {
    for cut in [false, true] {
        let outcome = world::run(1, move |world| async move {
            let (a, b) = two_nodes(&world);
            let log = Log::new(&world);
            // Accepts and never reads.
            world.start(b, |host| {
                Box::pin(async move {
                    let mut listener = host.listen("b:1").await.unwrap();
                    let _held = listener.accept().await.unwrap();
                    host.sleep(Duration::from_secs(1000)).await;
                })
            });
            let seen = log.clone();
            world.start(a, move |host| {
                Box::pin(async move {
                    let mut stream = host.connect("b:1").await.unwrap();
                    stream.write_all(b"unread").await.unwrap();
                    let error = stream.read_u8().await.unwrap_err();
                    seen.say(format!("{:?}", error.kind()));
                })
            });
            seconds(&world, 1.0).await;
            if cut {
                world.net().cut(a, b, Direction::BToA);
            }
            world.crash(b);
            seconds(&world, 1.0).await;
            world.net().heal_all();
            seconds(&world, 10.0).await;
            log.lines()
        });
        let lines = outcome.unwrap().output;
        match cut {
            false => assert_eq!(lines, [(1001, "ConnectionReset".to_owned())]),
            true => assert_eq!(lines, [], "kernels do not repeat a reset"),
        }
    }
}

#[test]
fn fin_is_repeated_until_it_arrives() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, Duration::from_secs(60));
        seconds(&world, 1.0).await;
        world.net().cut(a, b, Direction::Both);
        world.crash(a);
        seconds(&world, 2.0).await;
        assert!(!log.has("sink: end"));
        world.net().heal_all();
        seconds(&world, 4.0).await;
        assert!(log.time_of("sink: end") > 3010);
        assert_eq!(world.net().open_connections(), 0);
    });
    outcome.unwrap();
}

#[test]
fn resets_on_demand_reach_both_ends() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, MS * 10);
        seconds(&world, 1.0).await;
        world.net().reset_connections(b, a);
        seconds(&world, 1.0).await;
        assert_eq!(log.time_of("sink: ConnectionReset"), 1000);
        assert!(log.time_of("source: ConnectionReset") <= 1011);
        assert_eq!(world.net().open_connections(), 0);
    });
    outcome.unwrap();
}

/// Writes 64 KiB blocks until it has written 4 MiB.
fn start_bulk(world: &World, node: NodeId, log: &Log) {
    let log = log.clone();
    world.start(node, move |host| {
        Box::pin(async move {
            let mut stream = host.connect("b:1").await.unwrap();
            for _ in 0..64 {
                stream.write_all(&[7; 64 * 1024]).await.unwrap();
            }
            log.say("written");
            stream.shutdown().await.unwrap();
            host.sleep(Duration::from_secs(1000)).await;
        })
    });
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        seconds(&world, 0.1).await;
        world.pause(b);
        // The kernel of a paused process completes the handshake.
        start_bulk(&world, a, &log);
        seconds(&world, 5.0).await;
        assert!(!log.has("written"));
        assert_eq!(world.net().counters().bytes, 512 * 1024);
        world.resume(b);
        seconds(&world, 5.0).await;
        assert!(log.has("written") && log.has("sink: end"));
        assert_eq!(world.net().counters().delivered, 4 * 1024 * 1024);
    });
    outcome.unwrap();
}

#[test]
fn a_cut_way_back_stops_the_writer_once_its_buffer_is_full() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        let narrow = LinkConfig {
            bandwidth: Some(1_000_000),
            ..world.net().link(a, b)
        };
        world.net().set_link(a, b, Direction::AToB, &narrow);
        start_bulk(&world, a, &log);
        seconds(&world, 1.0).await;
        world.net().cut(a, b, Direction::BToA);
        seconds(&world, 20.0).await;
        assert!(!log.has("written"));
        let stuck = world.net().counters();
        assert_eq!(
            stuck.bytes, stuck.delivered,
            "everything that was sent arrived"
        );
        world.net().heal_all();
        seconds(&world, 20.0).await;
        assert!(log.has("written"));
    });
    outcome.unwrap();
}

#[test]
fn bandwidth_limits_throughput() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let narrow = LinkConfig {
            bandwidth: Some(1 << 20),
            ..world.net().link(a, b)
        };
        world.net().set_link(a, b, Direction::Both, &narrow);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_bulk(&world, a, &log);
        seconds(&world, 10.0).await;
        log.time_of("sink: end")
    });
    let at = outcome.unwrap().output;
    assert!((4000..4100).contains(&at), "4 MiB at 1 MiB/s: {at} ms");
}

#[test]
fn loss_is_delay() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let lossy = LinkConfig {
            loss: 0.1,
            ..world.net().link(a, b)
        };
        world.net().set_link(a, b, Direction::AToB, &lossy);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        start_source(&world, a, &log, MS * 10);
        seconds(&world, 20.0).await;
        let text: String = log
            .lines()
            .iter()
            .filter_map(|(_, line)| line.strip_prefix("sink: "))
            .collect();
        (text, world.net().counters())
    });
    let (text, counters) = outcome.unwrap().output;
    assert!(counters.lost > 100, "{counters:?}");
    let heard: Vec<&str> = text.trim_end_matches(';').split(';').collect();
    let expected: Vec<String> = (0..heard.len()).map(|count| format!("m{count}")).collect();
    assert!(heard.len() > 1000);
    assert_eq!(heard, expected);
}

#[test]
fn writes_of_one_instant_share_a_segment() {
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        world.start(a, |host| {
            Box::pin(async move {
                let mut stream = host.connect("b:1").await.unwrap();
                for _ in 0..50 {
                    stream.write_all(b"x").await.unwrap();
                    stream.flush().await.unwrap();
                }
                host.sleep(MS * 100).await;
            })
        });
        seconds(&world, 1.0).await;
        world.net().counters().segments
    });
    // The data, and a FIN from each side.
    assert!(outcome.unwrap().output <= 3);
}

#[test]
fn handles_of_an_ended_life_refuse_to_act() {
    type Kept = Arc<Mutex<Option<(Arc<dyn Host>, Box<dyn Stream>)>>>;
    let outcome = world::run(1, |world| async move {
        let (a, b) = two_nodes(&world);
        let log = Log::new(&world);
        start_sink(&world, b, &log);
        let kept: Kept = Arc::default();
        let keep = kept.clone();
        world.start(a, move |host| {
            Box::pin(async move {
                let stream = host.connect("b:1").await.unwrap();
                *lock(&keep) = Some((host.clone(), stream));
                host.sleep(Duration::from_secs(1000)).await;
            })
        });
        seconds(&world, 1.0).await;
        world.crash(a);
        world.start(a, |host| {
            Box::pin(async move { host.sleep(MS * 100_000).await })
        });
        let (host, mut stream) = lock(&kept).take().unwrap();
        let kind = |e: std::io::Error| e.kind();
        let aborted = Some(ErrorKind::ConnectionAborted);
        assert_eq!(stream.write_all(b"late").await.err().map(kind), aborted);
        assert_eq!(stream.read_u8().await.err().map(kind), aborted);
        assert_eq!(host.listen("a:1").await.err().map(kind), aborted);
        assert_eq!(host.connect("b:1").await.err().map(kind), aborted);
        let disk = host.disk();
        let opened = disk.exists("x".as_ref());
        assert_eq!(opened.err().map(kind), aborted);
        assert!(
            host.run_blocking(|| 1).await.is_none(),
            "no disk work for the dead"
        );
        let ran = Arc::new(Mutex::new(false));
        let mark = ran.clone();
        host.spawn("late", Box::pin(async move { *lock(&mark) = true }))
            .abort();
        drop(stream);
        seconds(&world, 1.0).await;
        assert!(!*lock(&ran));
        assert!(!log.has("sink: late"));
    });
    outcome.unwrap();
}

/// Sends a counting sequence over one connection after the other; checks what comes back is the
/// same sequence, echoed.
async fn count_up(host: Arc<dyn Host>, log: Log) {
    for connection in 0.. {
        let Some(Ok(stream)) = host.timeout(MS * 3000, host.connect("b:1")).await else {
            continue;
        };
        let (mut reader, mut writer) = tokio::io::split(stream);
        let pause = host.clone();
        let sender = host.spawn(
            "sender",
            Box::pin(async move {
                for number in 0u32.. {
                    if writer.write_all(&number.to_le_bytes()).await.is_err() {
                        break;
                    }
                    pause.sleep(MS * 5).await;
                }
            }),
        );
        let mut expected = 0u32;
        let mut bytes = [0; 4];
        // A connection that is silent for long is given up.
        while let Some(Ok(_)) = host.timeout(MS * 2500, reader.read_exact(&mut bytes)).await {
            assert_eq!(
                u32::from_le_bytes(bytes),
                expected,
                "connection {connection}"
            );
            expected += 1;
            log.say("echo");
        }
        sender.abort();
    }
}

async fn echo_all(host: Arc<dyn Host>) {
    let mut listener = host.listen("b:1").await.unwrap();
    while let Ok(stream) = listener.accept().await {
        let echo = async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            drop(tokio::io::copy(&mut reader, &mut writer).await);
        };
        host.spawn("echo", Box::pin(echo));
    }
}

#[test]
fn under_random_faults_streams_stay_in_order_and_recover() {
    for seed in 0..100 {
        let outcome = world::run(seed, move |world| async move {
            let (a, b) = two_nodes(&world);
            let lossy = LinkConfig {
                loss: 0.02,
                ..LinkConfig::default()
            };
            world.net().set_link(a, b, Direction::Both, &lossy);
            let log = Log::new(&world);
            let start = |node| {
                let log = log.clone();
                if !world.is_up(node) {
                    world.start(node, move |host| match node == a {
                        true => Box::pin(count_up(host, log)),
                        false => Box::pin(echo_all(host)),
                    });
                }
            };
            let mut draws = crate::rng::Stream::new(seed, "faults");
            for _ in 0..60 {
                start(a);
                start(b);
                world.sleep(draws.duration(MS..MS * 1500)).await;
                let node = if draws.chance(0.5) { a } else { b };
                match draws.range(0..9) {
                    0 => world.crash(node),
                    1 => drop(world.power_loss(node, PowerLoss::random())),
                    2 => world.net().cut(a, b, Direction::AToB),
                    3 => world.net().cut(a, b, Direction::BToA),
                    4 => world.net().reset_connections(a, b),
                    5 => world.pause(node),
                    6 => world.resume(node),
                    _ => world.net().heal_all(),
                }
            }
            world.net().heal_all();
            world.resume(a);
            world.resume(b);
            start(a);
            start(b);
            // A request sent again, a silence given up, and a retransmission, at worst.
            seconds(&world, 10.0).await;
            let before = log.lines().len();
            seconds(&world, 10.0).await;
            log.lines().len() - before
        });
        let outcome = outcome.unwrap();
        let panic = outcome.panics().next().map(|(_, report)| &report.message);
        assert_eq!(panic, None, "seed {seed}");
        assert!(
            outcome.output > 200,
            "seed {seed}: {} echoes",
            outcome.output
        );
    }
}
