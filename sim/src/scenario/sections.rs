//! Reads the sections that a scenario and a plan share.

use std::collections::BTreeMap;

use super::fields::{Fields, unknown_key};
use super::read_fault::table_of;
use super::schema::{self, KeyDoc};
use super::source::{Node, Problem, Value};
use super::{
    AuthWorkload, Cluster, CompactWorkload, Consistency, Disk, ElectionWorkload, Expect,
    KvWorkload, LeaseWorkload, LockWorkload, LostWrites, MembershipWorkload, Mix, Network,
    PowerLoss, ReplaceWorkload, ServerFlags, Time, Unsynced, WatchWorkload, Workload,
};

fn small(count: u64) -> u32 {
    u32::try_from(count).expect("documented bounds of small counts fit 32 bits")
}

/// Reads `[cluster]`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn cluster(root: &Fields<'_>, flags: &dyn ServerFlags) -> Result<Cluster, Problem> {
    let node = root.value("cluster")?;
    let fields = Fields::open(&node, &schema::CLUSTER, &[])?;
    let members = small(fields.count("members")?);
    let server = match fields.written("server") {
        Some(node) => server_flags(node, flags)?,
        None => BTreeMap::new(),
    };
    fields.finish();
    Ok(Cluster { members, server })
}

fn server_flags(node: &Node, flags: &dyn ServerFlags) -> Result<BTreeMap<String, String>, Problem> {
    let Value::Table(entries) = &node.value else {
        return Err(Problem::at(
            node.place.clone(),
            format!("`server` is a table of flags, not {}", node.value.shape()),
        ));
    };
    let names = flags.names();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut server = BTreeMap::new();
    for (key, value) in entries {
        if !known.contains(&key.name.as_str()) {
            return Err(unknown_key(&key.name, &key.place, &known, "cluster.server"));
        }
        let text = match &value.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            other => {
                return Err(Problem::at(
                    value.place.clone(),
                    format!("`{}` is a flag's value, not {}", key.name, other.shape()),
                ));
            }
        };
        server.insert(key.name.clone(), text);
    }
    flags.check(&server).map_err(|problem| {
        let place = node
            .get(&problem.flag)
            .map_or(&node.place, |value| &value.place);
        Problem::at(
            place.clone(),
            format!("bad `{}`: {}", problem.flag, problem.message),
        )
    })?;
    Ok(server)
}

/// Reads `[time]`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn time(root: &Fields<'_>) -> Result<Time, Problem> {
    let node = root.value("time")?;
    let fields = Fields::open(&node, &schema::TIME, &[])?;
    let time = Time {
        run: fields.duration("run")?,
        recover_within: fields.duration("recover-within")?,
    };
    for (key, value) in [("run", time.run), ("recover-within", time.recover_within)] {
        if value.is_zero() {
            return Err(Problem::at(
                fields.place_of(key),
                format!("`{key}` must not be zero"),
            ));
        }
    }
    fields.finish();
    Ok(time)
}

/// Reads `[network]`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn network(root: &Fields<'_>) -> Result<Network, Problem> {
    let node = root.value("network")?;
    let fields = Fields::open(&node, &schema::NETWORK, &[])?;
    let latency_node = fields.value("latency")?;
    let latency = Fields::open(&latency_node, &schema::LATENCY, &[])?;
    let (p50, p99) = (latency.duration("p50")?, latency.duration("p99")?);
    if p99 < p50 {
        return Err(Problem::at(latency.place_of("p99"), "p99 is below p50"));
    }
    if p50.is_zero() {
        return Err(Problem::at(
            latency.place_of("p50"),
            "`p50` must not be zero",
        ));
    }
    latency.finish();
    let loss = fields.fraction("loss")?;
    if loss > 0.9 {
        return Err(Problem::at(
            fields.place_of("loss"),
            "more than 90% loss carries nothing",
        )
        .help("to cut links, use a partition"));
    }
    let network = Network {
        latency_p50: p50,
        latency_p99: p99,
        loss,
        bandwidth: fields.bandwidth("bandwidth")?,
    };
    fields.finish();
    Ok(network)
}

/// Reads `[disk]`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn disk(root: &Fields<'_>) -> Result<Disk, Problem> {
    let node = root.value("disk")?;
    let fields = Fields::open(&node, &schema::DISK, &[])?;
    let profile = fields.choice("profile")?.to_string();
    let read = fields.duration("read")?;
    let power_node = fields.value("power-loss")?;
    let power = Fields::open(&power_node, &schema::POWER_LOSS, &[])?;
    let power_loss = PowerLoss {
        unsynced: unsynced(&power)?,
        torn_sector: torn_sector(&power)?,
    };
    power.finish();
    fields.finish();
    Ok(Disk {
        profile,
        read,
        power_loss,
    })
}

/// Reads `unsynced`.
///
/// # Errors
/// When it is no documented word.
pub fn unsynced(fields: &Fields<'_>) -> Result<Unsynced, Problem> {
    let name = fields.choice("unsynced")?;
    Ok(Unsynced::from_name(name).expect("the choices of `unsynced` are its names"))
}

/// Reads `torn-sector`.
///
/// # Errors
/// When it is neither 0 nor a power of two.
pub fn torn_sector(fields: &Fields<'_>) -> Result<u32, Problem> {
    let bytes = small(fields.count("torn-sector")?);
    if bytes != 0 && !bytes.is_power_of_two() {
        return Err(Problem::at(
            fields.place_of("torn-sector"),
            "`torn-sector` is a power of two, such as 512, or 0",
        ));
    }
    Ok(bytes)
}

/// Reads `[expect]`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn expect(root: &Fields<'_>) -> Result<Expect, Problem> {
    let node = root.value("expect")?;
    let fields = Fields::open(&node, &schema::EXPECT, &[])?;
    let consistency = Consistency::from_name(fields.choice("consistency")?);
    let lost = fields
        .zero_or_choice("lost-acknowledged-writes")?
        .unwrap_or("0");
    let expect = Expect {
        consistency: consistency.expect("the choices of `consistency` are its names"),
        lost_writes: LostWrites::from_name(lost).expect("the choices of lost writes are its names"),
        must_reach: fields
            .choices("must-reach")?
            .into_iter()
            .map(str::to_string)
            .collect(),
    };
    fields.finish();
    Ok(expect)
}

/// Reads one `[[workload]]`; `extra` are keys that the caller reads before finishing the fields.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn workload<'a>(
    node: &'a Node,
    extra: &'static [KeyDoc],
) -> Result<(Fields<'a>, Workload), Problem> {
    let table = table_of(node, schema::WORKLOADS, "workload")?;
    let fields = Fields::open(node, table, extra)?;
    fields.written("kind");
    let timeout = fields.duration("timeout")?;
    if timeout.is_zero() {
        return Err(Problem::at(
            fields.place_of("timeout"),
            "`timeout` must not be zero",
        ));
    }
    let workload = match table.name {
        "kv" => Workload::Kv(KvWorkload {
            clients: small(fields.count("clients")?),
            rate: fields.rate("rate")?,
            keys: small(fields.count("keys")?),
            value_size: small(fields.count("value-size")?),
            timeout,
            mix: mix(&fields)?,
        }),
        "compact" => {
            let every = fields.duration("every")?;
            if every.is_zero() {
                return Err(Problem::at(
                    fields.place_of("every"),
                    "`every` must not be zero",
                ));
            }
            Workload::Compact(CompactWorkload {
                every,
                keep: fields.count("keep")?,
                timeout,
            })
        }
        "lease" => Workload::Lease(LeaseWorkload {
            clients: small(fields.count("clients")?),
            ttl: i64::from(small(fields.count("ttl")?)),
            pause: fields.duration("pause")?,
            timeout,
        }),
        "lock" => Workload::Lock(LockWorkload {
            clients: small(fields.count("clients")?),
            locks: small(fields.count("locks")?),
            ttl: i64::from(small(fields.count("ttl")?)),
            hold: fields.duration("hold")?,
            pause: fields.duration("pause")?,
            timeout,
        }),
        "election" => Workload::Election(ElectionWorkload {
            clients: small(fields.count("clients")?),
            observers: small(fields.count("observers")?),
            elections: small(fields.count("elections")?),
            ttl: i64::from(small(fields.count("ttl")?)),
            hold: fields.duration("hold")?,
            pause: fields.duration("pause")?,
            timeout,
        }),
        "watch" => {
            let progress = fields.duration("progress")?;
            if progress.is_zero() || progress >= timeout {
                return Err(Problem::at(
                    fields.place_of("progress"),
                    "`progress` must be longer than zero and shorter than `timeout`",
                ));
            }
            Workload::Watch(WatchWorkload {
                clients: small(fields.count("clients")?),
                watches: small(fields.count("watches")?),
                keys: small(fields.count("keys")?),
                progress,
                slow: small(fields.count("slow")?),
                slow_for: fields.duration("slow-for")?,
                timeout,
            })
        }
        "membership" => {
            let every = fields.duration("every")?;
            if every.is_zero() {
                return Err(Problem::at(
                    fields.place_of("every"),
                    "`every` must not be zero",
                ));
            }
            Workload::Membership(MembershipWorkload {
                every,
                spares: small(fields.count("spares")?),
                timeout,
            })
        }
        "replace" => {
            let every = fields.duration("every")?;
            if every.is_zero() {
                return Err(Problem::at(
                    fields.place_of("every"),
                    "`every` must not be zero",
                ));
            }
            Workload::Replace(ReplaceWorkload { every, timeout })
        }
        "auth" => {
            let change_every = fields.duration("change-every")?;
            if change_every.is_zero() {
                return Err(Problem::at(
                    fields.place_of("change-every"),
                    "`change-every` must not be zero",
                ));
            }
            Workload::Auth(AuthWorkload {
                clients: small(fields.count("clients")?),
                rate: fields.rate("rate")?,
                keys: small(fields.count("keys")?),
                change_every,
                timeout,
            })
        }
        other => unreachable!("`{other}` is no documented kind"),
    };
    Ok((fields, workload))
}

fn mix(fields: &Fields<'_>) -> Result<Mix, Problem> {
    let node = fields.value("mix")?;
    let weights = Fields::open(&node, &schema::MIX, &[])?;
    let weight = |key| weights.count(key).map(small);
    let mix = Mix {
        put: weight("put")?,
        get: weight("get")?,
        range: weight("range")?,
        delete: weight("delete")?,
        cas: weight("cas")?,
        txn: weight("txn")?,
    };
    if mix.weights().iter().all(|(_, weight)| *weight == 0) {
        return Err(Problem::at(
            node.place.clone(),
            "all weights of the mix are zero",
        ));
    }
    weights.finish();
    Ok(mix)
}
