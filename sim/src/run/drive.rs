//! The phases of a run, inside the simulation: load and faults, heal, recovery, audit.

use std::collections::BTreeMap;
use std::time::Duration;

use vetcd::api::proto::etcdserverpb::alarm_request::AlarmAction;
use vetcd::api::proto::etcdserverpb::{AlarmRequest, AlarmType};
use vetcd::client::{Client, ClientOptions};
use vetcd::defects::Defects;
use vetcd::host::HostExt;

use super::facts::{Facts, Panic, Recovery};
use super::log;
use crate::check::KnownOrder;
use crate::check::convergence::MemberState;
use crate::check::membership::View;
use crate::cluster::{Cluster, member_config, records_from, spares};
use crate::explore::RunOptions;
use crate::fault::{Ending, Injector};
use crate::history::{News, Operation, Outcome};
use crate::observe::Observer;
use crate::plan::Plan;
use crate::report::FiredFault;
use crate::rng::{Latency, Stream};
use crate::scenario::{Fault, Workload};
use crate::workload::{
    AuthWorld, Recorder, auth_administrator, auth_user, candidate, compact, kv, lease, lock,
    membership, observer, replace, watch,
};
use crate::world::{
    Cause, ClockConfig, DiskProfile, LinkConfig, NetworkConfig, NodeConfig, NodeId, World,
};

/// How often recovery is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the supervisor of members with faulty disks looks at them.
const SUPERVISE_EVERY: Duration = Duration::from_millis(250);
/// How long members may take, once clients have stopped, until all have applied the same log.
const CONVERGE_WITHIN: Duration = Duration::from_secs(10);
/// Beside its time-outs, how long a watch may take to see what was written before.
const WATCH_GRACE: Duration = Duration::from_secs(2);
/// Length of the run that warms the process up.
const WARM_UP: Duration = Duration::from_secs(3);

/// How often the operator of a cluster whose disks fill up looks at its alarms.
const OPERATE_EVERY: Duration = Duration::from_secs(1);

fn has_disk_full(plan: &Plan) -> bool {
    let mut faults = plan.faults.iter();
    faults.any(|planned| matches!(planned.fault, Fault::DiskFull { .. }))
}

/// Whether somebody replaces members that refuse what their disk holds.
fn replaces(plan: &Plan) -> bool {
    let mut workloads = plan.workloads.iter();
    workloads.any(|planned| matches!(planned.workload, Workload::Replace(_)))
}

/// Starts somebody who disarms alarms that there is no space, a second or so after he sees them: too
/// early for as long as a disk is full, so that they have to come back.
fn start_operator(world: &World, cluster: &Cluster) {
    let node = world.add_node("operator", NodeConfig::default());
    let cluster = cluster.clone();
    world.start(node, move |host| {
        Box::pin(async move {
            let mut turn = 0;
            loop {
                host.sleep(OPERATE_EVERY).await;
                turn += 1;
                let servers = cluster.machines().into_iter();
                let servers: Vec<_> = servers.filter_map(|n| cluster.server(n)).collect();
                let Some(server) = servers.get(turn % servers.len().max(1)) else {
                    continue;
                };
                let alarms = server.serializable().alarms.of_kind(AlarmType::Nospace);
                for alarm in alarms {
                    let request = AlarmRequest {
                        action: AlarmAction::Deactivate as i32,
                        member_id: alarm.member_id,
                        alarm: alarm.alarm,
                    };
                    let disarming = server.alarm(request);
                    // Whether it came through shows at the next look.
                    _ = host.timeout(OPERATE_EVERY, disarming).await;
                }
            }
        })
    });
}

/// The network that a plan asks for.
pub fn network(plan: &Plan) -> NetworkConfig {
    NetworkConfig {
        link: LinkConfig {
            latency: Latency::new(plan.network.latency_p50, plan.network.latency_p99),
            loss: plan.network.loss,
            bandwidth: plan
                .network
                .bandwidth
                .map(|bandwidth| bandwidth.bytes_per_second),
        },
        ..NetworkConfig::default()
    }
}

/// A short version of `plan` that reaches the same code.
pub fn warm_up_plan(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.time.run = plan.time.run.min(WARM_UP);
    plan.faults.clear();
    plan
}

fn node_config(plan: &Plan, number: u32) -> Result<NodeConfig, String> {
    // A spare machine has a true clock and no mistakes of its own.
    let member = plan.members.get(number as usize - 1);
    let names = member.into_iter().flat_map(|member| &member.defects);
    let names = names.map(String::as_str);
    Ok(NodeConfig {
        clock: ClockConfig {
            offset: Duration::ZERO,
            drift_ppm: member.map_or(0, |member| i64::from(member.clock_drift_ppm)),
            wall_offset_ms: member.map_or(0, |m| m.clock_offset.nanoseconds / 1_000_000),
        },
        disk: DiskProfile {
            read: Latency::constant(plan.disk.read),
            ..DiskProfile::by_name(&plan.disk.profile)
                .ok_or_else(|| format!("there is no disk profile \"{}\"", plan.disk.profile))?
        },
        defects: Defects::by_name(names)?,
    })
}

/// Runs `plan` in `world`.
///
/// # Errors
/// A sentence saying why the plan cannot be run at all.
pub async fn drive(world: World, plan: Plan, options: RunOptions) -> Result<Facts, String> {
    let _logging = log::start(&world, options.trace);
    let observer = Observer::default();
    let configs: Vec<NodeConfig> = (1..=plan.members.len() as u32 + spares(&plan))
        .map(|n| node_config(&plan, n))
        .collect::<Result<_, _>>()?;
    let cluster = Cluster::new(&world, &plan, &observer, |n| {
        configs[n as usize - 1].clone()
    })
    .map_err(|error| error.to_string())?;
    cluster.start_all();
    if has_disk_full(&plan) {
        start_operator(&world, &cluster);
    }
    let recorder = recorder(&world);
    let clients = start_clients(&world, &plan, &cluster, &recorder);

    let mut facts = Facts::default();
    let injector = Injector::new(cluster.clone(), observer.clone());
    let run_for = options
        .until
        .map_or(plan.time.run, |until| until.min(plan.time.run));
    inject(&world, &plan, &injector, run_for, &mut facts).await;
    facts.safety_ended_ns = world.now_ns();
    facts.recovery = recover(&world, &plan, &cluster, &observer, &recorder, &facts.faults).await;
    let (watchers, writers): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|(_, watches)| *watches);
    for (client, _) in writers {
        world.crash(client);
    }
    facts.recovery.converged_ns = converge(&world, &cluster).await;
    if !watchers.is_empty() {
        world.sleep(watch_settling(&plan)).await;
        facts.watches_settled_ns = facts.recovery.converged_ns.map(|_| world.now_ns());
        world.sleep(WATCH_GRACE).await;
    }
    for (client, _) in watchers {
        world.crash(client);
    }
    // What leases did meanwhile is applied everywhere before members are compared.
    if facts.recovery.converged_ns.is_some() {
        facts.recovery.converged_ns = converge(&world, &cluster).await;
    }
    audit(&cluster, &mut facts);

    facts.ended_ns = world.now_ns();
    facts.history = recorder.take_history();
    facts.history.leases.removals = observer.removals();
    facts.misfits = recorder.misfits();
    facts.timeline = observer.timeline();
    facts.campaigns = observer.elections();
    facts.breaches = observer.breaches();
    facts.reached = observer.reached().into_iter().map(str::to_owned).collect();
    facts.power_cuts = injector.power_cuts();
    facts.liars = injector.liars();
    facts.flips = injector.flips();
    facts.disk_faults = cluster.tended();
    facts.full = cluster.full_count();
    let machines = cluster.machines().into_iter();
    facts.up = machines.filter(|n| cluster.server(*n).is_some()).collect();
    facts.ended = cluster.ended_by_themselves();
    facts.removals = cluster.removals();
    facts.replaced = cluster.replaced();
    facts.panics = panics(&world);
    facts.syncs = cluster
        .machines()
        .iter()
        .map(|n| world.disk(cluster.node(*n)).counters().syncs)
        .sum();
    facts.node_names = node_names(&world, &plan);
    cluster.forget_servers();
    Ok(facts)
}

fn recorder(world: &World) -> Recorder {
    let (clock, trace) = (world.clone(), world.trace().clone());
    let news_trace = trace.clone();
    Recorder::new(
        move || clock.now_ns(),
        move |operation| {
            trace.note(None, "operation", &fingerprint(operation));
        },
    )
    .noting_news(move |id, response| {
        let count = match &response.news {
            News::Events { events, .. } => events.len() as u64,
            _ => 0,
        };
        let words = [id, response.revision as u64, count].map(u64::to_le_bytes);
        news_trace.note(None, "watch", words.as_flattened());
    })
}

/// Tells operations apart: who, when, and the outcome with its revision.
fn fingerprint(operation: &Operation) -> [u8; 40] {
    let (class, revision) = match &operation.outcome {
        Outcome::Ok(response) => (0, response.revision),
        Outcome::Failed(failure) => (1, failure.class as i64),
        Outcome::Unknown(_) => (2, 0),
    };
    let words = [
        operation.id,
        operation.invoked,
        operation.returned.unwrap_or(u64::MAX),
        u64::from(operation.client) << 2 | class,
        revision as u64,
    ];
    let mut bytes = [0; 40];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Starts every client on a node of its own, on good hardware.
fn start_clients(
    world: &World,
    plan: &Plan,
    cluster: &Cluster,
    recorder: &Recorder,
) -> Vec<(NodeId, bool)> {
    let mut nodes = Vec::new();
    let mut sessions = 0;
    for planned in &plan.workloads {
        let auth_world = AuthWorld::default();
        for position in 0..planned.workload.clients() {
            let number = nodes.len() as u32;
            let node = world.add_node(&format!("c{}", number + 1), NodeConfig::default());
            let session = match &planned.workload {
                // The operator's requests are no part of the history of keys and values.
                Workload::Membership(_) | Workload::Replace(_) => None,
                _ => {
                    sessions += 1;
                    Some(recorder.session(sessions - 1, cluster.endpoints()))
                }
            };
            let (server, machines) = (plan.server.clone(), cluster.clone());
            let random = Stream::new(planned.seed, &format!("client/{position}"));
            let mut endpoints: Vec<String> = cluster
                .endpoints()
                .into_iter()
                .map(|(address, _)| address)
                .collect();
            let first = number as usize % endpoints.len();
            endpoints.rotate_left(first);
            let workload = planned.workload.clone();
            let auth_world = auth_world.clone();
            world.start(node, move |host| {
                let timeout = workload.timeout();
                let options = ClientOptions {
                    call_timeout: timeout,
                    connect_timeout: timeout,
                };
                let client = Client::new(host.clone(), endpoints, options);
                match (workload, session) {
                    (Workload::Kv(workload), Some(session)) => {
                        Box::pin(kv(host, workload, number, random, client, session))
                    }
                    (Workload::Compact(workload), Some(session)) => {
                        Box::pin(compact(host, workload, client, session))
                    }
                    (Workload::Lease(workload), Some(session)) => {
                        Box::pin(lease(host, workload, number, random, client, session))
                    }
                    (Workload::Lock(workload), Some(session)) => {
                        Box::pin(lock(host, workload, number, random, client, session))
                    }
                    (Workload::Election(workload), Some(session))
                        if position < workload.clients =>
                    {
                        Box::pin(candidate(host, workload, number, random, client, session))
                    }
                    (Workload::Election(workload), Some(session)) => {
                        Box::pin(observer(host, workload, random, client, session))
                    }
                    (Workload::Watch(workload), Some(session)) => {
                        Box::pin(watch(host, workload, position, random, client, session))
                    }
                    (Workload::Membership(workload), _) => {
                        Box::pin(membership(host, workload, server, machines, random, client))
                    }
                    (Workload::Replace(workload), _) => {
                        Box::pin(replace(host, workload, server, machines, client))
                    }
                    (Workload::Auth(workload), Some(session)) if position == 0 => Box::pin(
                        auth_administrator(host, workload, auth_world, random, client, session),
                    ),
                    (Workload::Auth(workload), Some(session)) => Box::pin(auth_user(
                        host, workload, auth_world, position, random, client, session,
                    )),
                    (_, None) => unreachable!("clients of keys and values have a session"),
                }
            });
            nodes.push((node, matches!(planned.workload, Workload::Watch(_))));
        }
    }
    nodes
}

/// How long watches are given, once all is quiet, to leave dead streams and see everything.
fn watch_settling(plan: &Plan) -> Duration {
    let needed = plan
        .workloads
        .iter()
        .filter_map(|planned| match &planned.workload {
            Workload::Watch(watch) => Some(2 * watch.timeout + watch.slow_for + WATCH_GRACE),
            _ => None,
        });
    needed.max().unwrap_or_default()
}

enum Step {
    Begin(usize),
    End(usize),
}

/// Whether a power loss now may take what was acknowledged, by the setting or by a lying disk.
fn may_lose(plan: &Plan, injector: &Injector) -> bool {
    let config = member_config(1, plan.members.len() as u32, &plan.server);
    let keeps = config.is_ok_and(|c| c.wal_sync().keeps_acknowledged_writes_over_power_loss());
    !keeps || !injector.liars().is_empty()
}

/// Begins and ends the plan's faults at their times, until `run_for` has passed; then ends the rest.
async fn inject(
    world: &World,
    plan: &Plan,
    injector: &Injector,
    run_for: Duration,
    facts: &mut Facts,
) {
    let run_ns = run_for.as_nanos() as u64;
    let mut steps: BTreeMap<(u64, usize), Step> = BTreeMap::new();
    for (index, fault) in plan.faults.iter().enumerate() {
        let at_ns = fault.at.as_nanos() as u64;
        if at_ns < run_ns {
            steps.insert((at_ns, index), Step::Begin(index));
        }
    }
    let mut order = steps.len();
    let mut open: BTreeMap<usize, (usize, Option<Ending>)> = BTreeMap::new();
    while let Some(((at_ns, _), step)) = steps.pop_first() {
        sleep_until(world, &injector.cluster, at_ns).await;
        match step {
            Step::Begin(index) => {
                let fault = &plan.faults[index];
                let begun = injector.begin(fault);
                if matches!(fault.fault, Fault::PowerLoss { .. }) && may_lose(plan, injector) {
                    injector.observer().permit_loss();
                }
                world
                    .trace()
                    .note(None, &fault.name, begun.detail.as_bytes());
                tracing::info!(fault = fault.name, members = ?begun.members, begun.detail, "fault");
                let lasts = fault.fault.lasts();
                let ends_ns = lasts.map_or(run_ns, |lasts| at_ns + lasts.as_nanos() as u64);
                steps.insert((ends_ns.min(run_ns), order), Step::End(index));
                order += 1;
                open.insert(index, (facts.faults.len(), begun.ending));
                facts.faults.push(FiredFault {
                    name: fault.name.clone(),
                    kind: fault.fault.kind().to_owned(),
                    on: fault.on.to_string(),
                    members: begun.members,
                    at: Duration::from_nanos(world.now_ns()),
                    ended_at: None,
                    detail: begun.detail,
                });
            }
            Step::End(index) => {
                if let Some((position, ending)) = open.remove(&index) {
                    if let Some(ending) = ending {
                        ending();
                    }
                    facts.faults[position].ended_at = Some(Duration::from_nanos(world.now_ns()));
                }
            }
        }
    }
    sleep_until(world, &injector.cluster, run_ns).await;
}

/// Sleeps while the supervisor does its work, if there is any to be done.
async fn sleep_until(world: &World, cluster: &Cluster, until_ns: u64) {
    while !cluster.tended().is_empty() && world.now_ns() < until_ns {
        cluster.supervise();
        let look_ns = world.now_ns() + SUPERVISE_EVERY.as_nanos() as u64;
        world.sleep_until_ns(look_ns.min(until_ns)).await;
    }
    world.sleep_until_ns(until_ns).await;
}

/// Waits until there is a leader and every client is served, at most as long as the plan allows.
async fn recover(
    world: &World,
    plan: &Plan,
    cluster: &Cluster,
    observer: &Observer,
    recorder: &Recorder,
    faults: &[FiredFault],
) -> Recovery {
    let healed_ns = world.now_ns();
    world.net().heal_all();
    let deadline = healed_ns + plan.time.recover_within.as_nanos() as u64;
    let ended = faults.iter().filter_map(|fault| fault.ended_at).max();
    let mut recovery = Recovery {
        healed_ns,
        last_fault_ended_ns: ended.map(|at| at.as_nanos() as u64),
        served_ns: vec![None; recorder.last_success_ns().len()],
        ..Recovery::default()
    };
    while world.now_ns() < deadline {
        if recovery.leader_ns.is_none() && observer.leader().is_some() {
            recovery.leader_ns = Some(world.now_ns());
        }
        for (served, last) in recovery
            .served_ns
            .iter_mut()
            .zip(recorder.last_success_ns())
        {
            if served.is_none() && last > healed_ns {
                *served = Some(last);
            }
        }
        cluster.supervise();
        let needed = match replaces(plan) {
            true => cluster.original(),
            false => cluster.able(),
        };
        let all_up = needed.iter().all(|n| cluster.server(*n).is_some());
        let all_served = recovery.served_ns.iter().all(Option::is_some);
        if recovery.leader_ns.is_some() && all_served && all_up {
            break;
        }
        world.sleep(LOOK_EVERY).await;
    }
    recovery
}

/// Waits until all members have applied the same log.
async fn converge(world: &World, cluster: &Cluster) -> Option<u64> {
    let deadline = world.now_ns() + CONVERGE_WITHIN.as_nanos() as u64;
    while world.now_ns() < deadline {
        settle(cluster);
        cluster.supervise();
        let mut applied = Vec::new();
        let mut committed = 0;
        for number in cluster.able() {
            let Some(server) = cluster.server(number) else {
                break;
            };
            if !server.whole().is_read() {
                break;
            }
            applied.push(server.serializable().index);
            committed = committed.max(server.raft_status().commit);
        }
        let all = !applied.is_empty() && applied.len() == cluster.able().len();
        let stopped = cluster
            .removals()
            .iter()
            .all(|removal| removal.stopped_ns.is_some());
        if all && stopped && applied.iter().all(|index| *index == committed) {
            return Some(world.now_ns());
        }
        world.sleep(LOOK_EVERY).await;
    }
    None
}

/// Takes note of removals that the operator did not live to hear of.
fn settle(cluster: &Cluster) {
    let servers = cluster
        .numbers()
        .into_iter()
        .filter_map(|n| cluster.server(n));
    let states: Vec<_> = servers.map(|server| server.serializable()).collect();
    let Some(newest) = states.iter().max_by_key(|state| state.index) else {
        return;
    };
    let urls: Vec<&String> = newest.members.iter().flat_map(|m| &m.peer_urls).collect();
    let machines = urls.iter().filter_map(|url| cluster.machine_at(url));
    let members: Vec<u32> = machines.collect();
    for number in cluster.numbers() {
        if !members.contains(&number) {
            cluster.removed(number);
        }
    }
}

/// Reads what every member holds.
fn audit(cluster: &Cluster, facts: &mut Facts) {
    let mut furthest: Option<(u64, KnownOrder)> = None;
    for number in cluster.numbers() {
        let Some(server) = cluster.server(number) else {
            continue;
        };
        let published = server.serializable();
        let state = &published.state;
        let hash = vetcd::server::state_hash(&published);
        let mut voters = published.conf_state.voters.clone();
        voters.sort_unstable();
        let mut learners = published.conf_state.learners.clone();
        learners.sort_unstable();
        facts.members.push(MemberState {
            member: number,
            index: published.index,
            voters: voters.clone(),
            learners,
            revision: state.revision(),
            compact_revision: state.compact_revision(),
            hash,
        });
        facts.views.push(View {
            member: number,
            index: published.index,
            voters,
            listed: published.members.voters().map(|member| member.id).collect(),
        });
        if furthest
            .as_ref()
            .is_none_or(|(index, _)| *index < published.index)
        {
            furthest = Some((published.index, known_order(state)));
        }
    }
    facts.known_order = furthest.map(|(index, mut order)| {
        let mut states = facts.members.iter();
        let hash = states.find(|state| state.index == index).map(|s| s.hash);
        let same = |state: &&MemberState| state.index == index && Some(state.hash) == hash;
        let same: Vec<u32> = facts
            .members
            .iter()
            .filter(same)
            .map(|s| s.member)
            .collect();
        cluster.remember(&mut order, &same);
        order
    });
}

fn known_order(state: &vetcd::mvcc::State) -> KnownOrder {
    KnownOrder {
        compacted: state.compact_revision().max(0),
        revision: state.revision(),
        records: records_from(state, 0),
        ..KnownOrder::default()
    }
}

fn panics(world: &World) -> Vec<Panic> {
    let deaths = world.deaths();
    let panics = deaths.iter().filter_map(|death| match &death.cause {
        Cause::Panicked(report) => Some(Panic {
            at_ns: death.at_ns,
            node: world.name(death.node),
            text: report.to_string(),
        }),
        _ => None,
    });
    panics.collect()
}

fn node_names(world: &World, plan: &Plan) -> Vec<String> {
    let planned = plan.workloads.iter();
    let clients: u32 = planned.map(|planned| planned.workload.clients()).sum();
    let operators = u32::from(has_disk_full(plan));
    let nodes = plan.members.len() as u32 + spares(plan) + operators + clients;
    (0..nodes)
        .map(|number| world.name(NodeId(number)))
        .collect()
}
