//! Processes, clocks, panics, determinism and memory of whole runs.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use vetcd::host::{HostExt, OpenMode};

use super::trace::{TraceHash, first_difference};
use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn sleeps_are_exact_to_the_microsecond() {
    let outcome = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let seen = spans.clone();
        let clock = world.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                for micros in [1, 10, 100, 999, 1500] {
                    let from_ns = clock.now_ns();
                    host.sleep(Duration::from_micros(micros)).await;
                    lock(&seen).push((clock.now_ns() - from_ns) / 1000);
                }
                let from_ns = clock.now_ns();
                host.sleep(Duration::ZERO).await;
                assert!(
                    clock.now_ns() > from_ns,
                    "a loop of zero sleeps must not stop time"
                );
            })
        });
        world.wait_down(node).await;

        lock(&spans).clone()
    });
    assert_eq!(outcome.unwrap().output, [1, 10, 100, 999, 1500]);
}

#[test]
fn clocks_have_offsets_and_drift() {
    let outcome = run(1, |world| async move {
        let clock = |offset, drift_ppm, wall_offset_ms| NodeConfig {
            clock: ClockConfig {
                offset,
                drift_ppm,
                wall_offset_ms,
            },
            ..NodeConfig::default()
        };
        let nodes = [
            world.add_node("true", NodeConfig::default()),
            world.add_node("fast", clock(Duration::from_secs(1000), 100_000, 5000)),
            world.add_node("slow", clock(Duration::ZERO, -100_000, -5000)),
        ];
        let readings = Arc::new(Mutex::new(Vec::new()));
        for node in nodes {
            let (readings, world2) = (readings.clone(), world.clone());
            world.start(node, move |host| {
                Box::pin(async move {
                    let (from, wall) = (host.now(), host.wall_clock());
                    host.sleep(Duration::from_secs(10)).await;
                    let true_ms = world2.now_ns() / 1_000_000;
                    let local_ms = host.now().since(from).as_millis() as u64;
                    let wall_ms = (host.wall_clock() - wall).as_millis() as u64;
                    let start = (from.0.as_secs(), wall.as_secs() % 100);
                    lock(&readings).push((true_ms, local_ms, wall_ms, start));
                })
            });
        }
        world.sleep(Duration::from_secs(5)).await;
        world.step_wall_clock(nodes[0], 2000);
        world.sleep(Duration::from_secs(10)).await;

        lock(&readings).clone()
    });
    let expected = [
        (9090, 10_000, 10_000, (1000, 5)),
        (10_000, 10_000, 12_000, (0, 0)),
        (11_111, 10_000, 10_000, (0, 95)),
    ];
    assert_eq!(outcome.unwrap().output, expected);
}

#[test]
fn a_clock_that_is_slowed_down_never_jumps_and_never_wakes_early() {
    let outcome = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        let clock = world.clone();
        let result = Arc::new(Mutex::new((0, 0)));
        let seen = result.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                host.sleep(Duration::from_secs(10)).await;
                *lock(&seen) = (host.now().0.as_millis(), clock.now_ns() / 1_000_000);
            })
        });
        world.sleep(Duration::from_secs(5)).await;
        world.set_drift(node, -500_000);
        world.wait_down(node).await;

        *lock(&result)
    });
    assert_eq!(outcome.unwrap().output, (10_000, 15_000));
}

#[test]
fn a_pause_stops_a_process_and_a_resume_lets_it_go_on() {
    let outcome = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        let count = Arc::new(Mutex::new(0));
        let counter = count.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                loop {
                    host.sleep(MS * 10).await;
                    *lock(&counter) += 1;
                }
            })
        });
        let mut counts = Vec::new();
        for step in 0..4 {
            world.sleep(Duration::from_secs(1)).await;
            counts.push(*lock(&count));
            match step {
                0 => world.pause(node),
                1 => world.resume(node),
                2 => {
                    world.pause(node);
                    world.crash(node);
                }
                _ => {}
            }
        }
        assert!(!world.is_up(node));
        counts
    });
    let counts = outcome.unwrap().output;
    assert_eq!(counts[0], counts[1]);
    assert!(counts[2] >= counts[1] + 99);
    assert_eq!(counts[2], counts[3]);
}

#[test]
fn the_boot_changes_with_a_power_loss_and_not_with_a_crash() {
    let outcome = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        let idle = || {
            world.start(node, |host| {
                Box::pin(async move { host.sleep(MS * 9999).await })
            })
        };
        let mut boots = Vec::new();
        for round in 0..3 {
            assert_eq!(idle(), round + 1);
            boots.push(world.boot_id(node));
            match round {
                0 => world.crash(node),
                _ => drop(world.power_loss(node, PowerLoss::lose_all())),
            }
        }
        boots
    });
    assert_eq!(
        outcome.unwrap().output,
        ["a-boot-1", "a-boot-1", "a-boot-2"]
    );
}

#[test]
fn abort_ends_a_task_and_the_end_of_main_ends_all() {
    let outcome = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        let alive = Arc::new(());
        let held = alive.clone();
        world.start(node, move |host| {
            Box::pin(async move {
                let mut tasks = Vec::new();
                for _ in 0..2 {
                    let (held, sleeper) = (held.clone(), host.clone());
                    tasks.push(host.spawn(
                        "holder",
                        Box::pin(async move {
                            sleeper.sleep(Duration::from_secs(1000)).await;
                            drop(held);
                        }),
                    ));
                }
                drop(held);
                host.sleep(MS * 100).await;
                tasks[0].abort();
                host.sleep(MS * 100).await;
            })
        });
        let mut counts = Vec::new();
        for _ in 0..3 {
            world.sleep(MS * 80).await;
            counts.push(Arc::strong_count(&alive) - 1);
        }
        counts
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.output, [2, 1, 0]);
    assert!(matches!(outcome.deaths[0].cause, Cause::Returned));
}

#[test]
fn a_panic_ends_its_process_alone_and_is_reported() {
    let outcome = run(1, |world| async move {
        let (a, b, c) = (
            world.add_node("a", NodeConfig::default()),
            world.add_node("b", NodeConfig::default()),
            world.add_node("c", NodeConfig::default()),
        );
        world.start(a, |host| {
            Box::pin(async move {
                let doomed = async { panic!("index {} out of reach", 7) };
                host.spawn("doomed", Box::pin(doomed));
                host.sleep(Duration::from_secs(1000)).await;
            })
        });
        world.start(b, |host| {
            Box::pin(async move {
                host.run_blocking(|| assert_eq!(1, 2, "disk work too"))
                    .await;
                unreachable!("the process is dead");
            })
        });
        world.start(c, |host| {
            Box::pin(async move { host.sleep(MS * 100_000).await })
        });
        world.sleep(Duration::from_secs(1)).await;
        (world.is_up(a), world.is_up(b), world.is_up(c))
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.output, (false, false, true));
    let mut panics: Vec<_> = outcome.panics().collect();
    panics.sort_by_key(|(node, _)| *node);
    assert_eq!(panics.len(), 2);
    assert_eq!(
        (panics[0].0, panics[0].1.message.as_str()),
        (NodeId(0), "index 7 out of reach")
    );
    assert_eq!(panics[0].1.task, "doomed");
    assert!(
        panics[0].1.place.contains("world/tests.rs:"),
        "{}",
        panics[0].1.place
    );
    assert!(panics[1].1.message.contains("disk work too"));
}

#[test]
fn a_panic_of_the_scenario_fails_the_run_and_no_other() {
    let failure = run(1, |world| async move {
        let node = world.add_node("a", NodeConfig::default());
        world.start(node, |host| {
            Box::pin(async move { host.sleep(MS * 100_000).await })
        });
        world.sleep(MS).await;
        assert!(!world.is_up(node), "on purpose");
    });
    let text = failure.unwrap_err().to_string();
    assert!(
        text.contains("on purpose") && text.contains("tests.rs"),
        "{text}"
    );
    assert_eq!(run(1, |_| async { 5 }).unwrap().output, 5);
}

#[test]
fn entropy_differs_by_node_life_and_seed_and_repeats_with_the_seed() {
    let draw = |seed| {
        run(seed, |world| async move {
            let drawn = Arc::new(Mutex::new(Vec::new()));
            for name in ["a", "b"] {
                let node = world.add_node(name, NodeConfig::default());
                for _ in 0..2 {
                    let drawn = drawn.clone();
                    world.start(node, move |host| {
                        Box::pin(async move { lock(&drawn).push(host.random_u64()) })
                    });
                    world.wait_down(node).await;
                }
            }

            lock(&drawn).clone()
        })
        .unwrap()
        .output
    };
    let (first, again, other) = (draw(1), draw(1), draw(2));
    assert_eq!(first, again);
    let all: std::collections::BTreeSet<u64> = first.iter().chain(&other).copied().collect();
    assert_eq!(all.len(), 8);
}

/// An HTTP/2 executor and timer on a host.
#[derive(Clone)]
struct OnHost(Arc<dyn Host>);

impl<F> hyper::rt::Executor<F> for OnHost
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0
            .spawn("http", Box::pin(async move { drop(future.await) }));
    }
}

async fn echo(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, io::Error> {
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    Ok(http::Response::new(Full::new(body.to_bytes())))
}

async fn serve_http(host: Arc<dyn Host>, address: String) -> io::Result<()> {
    let mut listener = host.listen(&address).await?;
    loop {
        let stream = listener.accept().await?;
        let serve = hyper::server::conn::http2::Builder::new(OnHost(host.clone()))
            .serve_connection(TokioIo::new(stream), hyper::service::service_fn(echo));
        host.spawn("connection", Box::pin(async move { drop(serve.await) }));
    }
}

/// Sends requests until `count` were answered; connects again when the connection breaks.
async fn call_http(host: Arc<dyn Host>, world: World, address: String, count: usize) {
    let mut answered = 0;
    while answered < count {
        let Ok(stream) = host.connect(&address).await else {
            host.sleep(MS * 50).await;
            continue;
        };
        let io = TokioIo::new(stream);
        let Ok((mut sender, connection)) =
            hyper::client::conn::http2::handshake(OnHost(host.clone()), io).await
        else {
            continue;
        };
        host.spawn(
            "connection",
            Box::pin(async move { drop(connection.await) }),
        );
        while answered < count {
            let body = Bytes::from(format!("{answered}/{}", host.random_u64()));
            let uri = format!("http://{address}/");
            let request = http::Request::post(uri)
                .body(Full::new(body.clone()))
                .unwrap();
            let limit = Duration::from_millis(500);
            let Some(Ok(response)) = host.timeout(limit, sender.send_request(request)).await else {
                break;
            };
            let Ok(echoed) = response.into_body().collect().await else {
                break;
            };
            let echoed = echoed.to_bytes();
            assert_eq!(echoed, body);
            world.trace().note(None, "echoed", &echoed);
            answered += 1;
        }
    }
}

/// Three nodes, HTTP/2 among them, disk work, a cut, a crash, a power loss.
async fn busy_scenario(world: World) -> u64 {
    let config = NodeConfig {
        disk: DiskProfile::nvme(),
        ..NodeConfig::default()
    };
    let nodes: Vec<NodeId> = ["m1", "m2", "m3"]
        .iter()
        .map(|name| world.add_node(name, config.clone()))
        .collect();
    let client = world.add_node("client", NodeConfig::default());
    let lossy = LinkConfig {
        loss: 0.01,
        ..LinkConfig::default()
    };
    world
        .net()
        .set_link(nodes[0], client, Direction::Both, &lossy);
    let start = |node: NodeId| {
        let address = format!("{}:80", world.name(node));
        world.start(node, move |host| {
            Box::pin(async move {
                let disk = host.disk();
                let writer = host.clone();
                let work = async move {
                    for round in 0u64.. {
                        let disk = disk.clone();
                        let write = move || -> io::Result<()> {
                            let file = disk.open("log".as_ref(), OpenMode::OpenOrCreate)?;
                            file.write_at(round * 100, &round.to_le_bytes())?;
                            file.sync_data()
                        };
                        if writer.run_blocking(write).await.is_none() {
                            break;
                        }
                    }
                };
                host.spawn("writer", Box::pin(work));
                drop(serve_http(host, address).await);
            })
        });
    };
    nodes.iter().copied().for_each(&start);
    let calls = world.clone();
    world.start(client, move |host| {
        Box::pin(async move {
            for name in ["m1", "m2", "m3"] {
                let (host2, calls, address) = (host.clone(), calls.clone(), format!("{name}:80"));
                let call = call_http(host2, calls, address, 300);
                host.spawn("caller", Box::pin(call));
            }
            host.sleep(Duration::from_secs(100)).await;
        })
    });
    world.sleep(MS * 50).await;
    world.net().cut(nodes[0], client, Direction::BToA);
    world.crash(nodes[1]);
    world.sleep(MS * 100).await;
    world.power_loss(nodes[2], PowerLoss::random());
    start(nodes[1]);
    world.sleep(MS * 100).await;
    start(nodes[2]);
    world.net().heal_all();
    world.sleep(Duration::from_secs(6)).await;
    world.net().counters().delivered
}

fn busy_run(seed: u64) -> (TraceHash, u64) {
    let outcome = run(seed, busy_scenario).unwrap();
    assert_eq!(outcome.panics().count(), 0, "{:?}", outcome.deaths);
    (outcome.trace, outcome.output)
}

#[test]
fn http2_works_and_answers_every_request_in_spite_of_faults() {
    let options = RunOptions {
        seed: 5,
        record: true,
        ..RunOptions::default()
    };
    let outcome = run_with(options, busy_scenario).unwrap();
    let echoed = outcome
        .events
        .iter()
        .filter(|event| event.label == "echoed")
        .count();
    assert_eq!(echoed, 900);
}

#[test]
#[allow(clippy::disallowed_methods)]
fn equal_seeds_give_equal_runs_alone_or_in_company() {
    let alone: Vec<_> = (0..4).map(busy_run).collect();
    assert_eq!(alone, (0..4).map(busy_run).collect::<Vec<_>>());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                (0..4)
                    .map(|n| busy_run((n + thread) % 4))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for (thread, handle) in threads.into_iter().enumerate() {
        for (n, found) in handle.join().unwrap().into_iter().enumerate() {
            assert_eq!(found, alone[(n + thread) % 4], "thread {thread}");
        }
    }
    let different: std::collections::BTreeSet<_> = alone.iter().map(|(hash, _)| *hash).collect();
    assert_eq!(different.len(), 4, "different seeds, different runs");
}

/// The first run of a process must not differ: checked in processes of their own.
#[test]
fn the_first_run_of_a_process_is_like_any_other() {
    const MARK: &str = "VETCD_SIM_TEST_CHILD";
    if let Ok(seeds) = std::env::var(MARK) {
        for seed in seeds.split(',') {
            println!("hash {} {}", seed, busy_run(seed.parse().unwrap()).0);
        }
        return;
    }
    let child = |seeds: &str| {
        let name = "world::tests::the_first_run_of_a_process_is_like_any_other";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(MARK, seeds)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut hashes: Vec<String> = text
            .lines()
            .filter_map(|line| Some(line.split_once("hash ")?.1.to_owned()))
            .collect();
        hashes.sort();
        hashes
    };
    let forth = child("11,12,13");
    assert_eq!(forth.len(), 3);
    assert_eq!(forth, child("13,12,11"));
}

#[test]
fn recorded_events_show_where_two_runs_part() {
    let record = |seed, extra: bool| {
        let options = RunOptions {
            seed,
            record: true,
            ..RunOptions::default()
        };
        let outcome = run_with(options, move |world| async move {
            let node = world.add_node("a", NodeConfig::default());
            world.start(node, |host| {
                Box::pin(async move { host.sleep(MS * 10).await })
            });
            world.sleep(MS * 5).await;
            if extra {
                world.trace().note(Some(node), "extra", b"x");
            }
            world.sleep(MS * 10).await;
        });
        let outcome = outcome.unwrap();
        (outcome.trace, outcome.events)
    };
    let (hash, events) = record(1, false);
    assert_eq!((hash, events.clone()), record(1, false));
    assert_eq!(first_difference(&events, &events), None);
    let (other_hash, other) = record(1, true);
    assert_ne!(hash, other_hash);
    let (index, here, there) = first_difference(&events, &other).unwrap();
    assert_eq!(index, 1);
    assert!(
        here.unwrap()
            .to_string()
            .contains("node 0 end life=1 how=0"),
        "{}",
        here.unwrap()
    );
    let text = there.unwrap().to_string();
    assert!(text.contains("node 0 note extra bytes=1"), "{text}");
}

/// Resident memory of this process in KiB.
#[allow(clippy::disallowed_methods)]
fn resident_kib() -> u64 {
    let statm = std::fs::read("/proc/self/statm").unwrap();
    let text = String::from_utf8(statm).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

#[test]
fn runs_leave_no_memory_behind() {
    const MARK: &str = "VETCD_SIM_TEST_MEMORY";
    const RUNS: u64 = 130;
    if std::env::var(MARK).is_ok() {
        for seed in 0..30 {
            busy_run(seed);
        }
        let before = resident_kib();
        for seed in 30..RUNS {
            busy_run(seed);
        }
        println!("grown {} {}", before, resident_kib());
        return;
    }
    // In a process of its own: other tests would be counted.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "world::tests::runs_leave_no_memory_behind",
            "--nocapture",
        ])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find_map(|line| Some(line.split_once("grown ")?.1))
        .unwrap();
    println!("resident KiB before and after: {line}");
    let (before, after) = line.split_once(' ').unwrap();
    let grown: i64 = after.parse::<i64>().unwrap() - before.parse::<i64>().unwrap();
    assert!(
        grown < 10 * (RUNS as i64 - 30),
        "10 KiB a run at most: {line}"
    );
}
