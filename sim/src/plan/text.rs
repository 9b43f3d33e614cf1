//! Plan -> TOML, in a form made to be read and edited: sections in a fixed order, every value
//! explicit, quantities with their units.

use std::fmt::Display;
use std::fmt::Write as _;

use super::{Plan, PlannedFault, PlannedMember, PlannedWorkload, VERSION};
use crate::scenario::fault::Parameter;
use crate::scenario::{LostWrites, Workload, format_duration};
use crate::world::CACHED_READ;

/// The last line of every plan: without it the file was cut short.
pub const LAST_LINE: &str = "# end of plan";

/// A string as a TOML value.
fn quote(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(quote).collect();
    format!("[{}]", quoted.join(", "))
}

/// Collects lines; writing to a string cannot fail.
struct Lines(String);

impl Lines {
    fn table(&mut self, header: &str) {
        self.0 += &format!("\n{header}\n");
    }

    fn key(&mut self, key: &str, value: impl Display) {
        writeln!(self.0, "{key} = {value}").expect("writing to a string succeeds");
    }
}

impl Plan {
    /// The plan as TOML; [`Plan::parse`] reads it back as the same plan.
    pub fn to_toml(&self) -> String {
        let mut out = Lines(String::from(
            "# The plan of one run: a scenario with every choice made. It can be edited, and run \
             with\n# `vetcd-sim replay FILE`. Keep the last line.\n",
        ));
        out.key("version", VERSION);
        out.key("scenario", quote(&self.scenario));
        out.key("path", quote(&self.path));
        out.key("description", quote(&self.description));
        out.key("seed", self.seed);
        out.key("overrides", list(&self.overrides));
        self.write_world(&mut out);
        self.members
            .iter()
            .for_each(|member| write_member(&mut out, member));
        self.workloads
            .iter()
            .for_each(|workload| write_workload(&mut out, workload));
        self.faults
            .iter()
            .for_each(|fault| write_fault(&mut out, fault));
        out.0 += &format!("\n{LAST_LINE}\n");
        out.0
    }

    fn write_world(&self, out: &mut Lines) {
        out.table("[cluster]");
        out.key("members", self.members.len());
        out.table("[cluster.server]");
        for (flag, value) in &self.server {
            out.key(&quote(flag), quote(value));
        }
        out.table("[time]");
        out.key("run", quote(format_duration(self.time.run)));
        out.key(
            "recover-within",
            quote(format_duration(self.time.recover_within)),
        );
        out.table("[network]");
        let (p50, p99) = (self.network.latency_p50, self.network.latency_p99);
        let (p50, p99) = (quote(format_duration(p50)), quote(format_duration(p99)));
        out.key("latency", format!("{{ p50 = {p50}, p99 = {p99} }}"));
        out.key("loss", self.network.loss);
        if let Some(bandwidth) = self.network.bandwidth {
            out.key("bandwidth", quote(bandwidth));
        }
        out.table("[disk]");
        out.key("profile", quote(&self.disk.profile));
        if self.disk.read != CACHED_READ {
            out.key("read", quote(format_duration(self.disk.read)));
        }
        let power_loss = self.disk.power_loss;
        let unsynced = quote(power_loss.unsynced.name());
        let torn_sector = power_loss.torn_sector;
        out.key(
            "power-loss",
            format!("{{ unsynced = {unsynced}, torn-sector = {torn_sector} }}"),
        );
        out.table("[expect]");
        out.key("consistency", quote(self.expect.consistency.name()));
        match self.expect.lost_writes {
            LostWrites::Zero => out.key("lost-acknowledged-writes", 0),
            other => out.key("lost-acknowledged-writes", quote(other.name())),
        }
        out.key("must-reach", list(&self.expect.must_reach));
    }
}

fn write_member(out: &mut Lines, member: &PlannedMember) {
    out.table("[[member]]");
    out.key("number", member.number);
    out.key("clock-offset", quote(member.clock_offset));
    out.key("clock-drift-ppm", member.clock_drift_ppm);
    out.key("defects", list(&member.defects));
}

fn write_workload(out: &mut Lines, planned: &PlannedWorkload) {
    out.table("[[workload]]");
    out.key("kind", quote(planned.workload.kind()));
    out.key("name", quote(&planned.name));
    out.key("seed", planned.seed);
    match &planned.workload {
        Workload::Kv(kv) => {
            out.key("clients", kv.clients);
            out.key("rate", quote(kv.rate));
            out.key("keys", kv.keys);
            out.key("value-size", kv.value_size);
            out.key("timeout", quote(format_duration(kv.timeout)));
            let weights = kv
                .mix
                .weights()
                .map(|(name, weight)| format!("{name} = {weight}"));
            out.key("mix", format!("{{ {} }}", weights.join(", ")));
        }
        Workload::Compact(compact) => {
            out.key("every", quote(format_duration(compact.every)));
            out.key("keep", compact.keep);
            out.key("timeout", quote(format_duration(compact.timeout)));
        }
        Workload::Lease(lease) => {
            out.key("clients", lease.clients);
            out.key("ttl", lease.ttl);
            out.key("pause", quote(format_duration(lease.pause)));
            out.key("timeout", quote(format_duration(lease.timeout)));
        }
        Workload::Lock(lock) => {
            out.key("clients", lock.clients);
            out.key("locks", lock.locks);
            out.key("ttl", lock.ttl);
            out.key("hold", quote(format_duration(lock.hold)));
            out.key("pause", quote(format_duration(lock.pause)));
            out.key("timeout", quote(format_duration(lock.timeout)));
        }
        Workload::Election(election) => {
            out.key("clients", election.clients);
            out.key("observers", election.observers);
            out.key("elections", election.elections);
            out.key("ttl", election.ttl);
            out.key("hold", quote(format_duration(election.hold)));
            out.key("pause", quote(format_duration(election.pause)));
            out.key("timeout", quote(format_duration(election.timeout)));
        }
        Workload::Watch(watch) => {
            out.key("clients", watch.clients);
            out.key("watches", watch.watches);
            out.key("keys", watch.keys);
            out.key("progress", quote(format_duration(watch.progress)));
            out.key("slow", watch.slow);
            out.key("slow-for", quote(format_duration(watch.slow_for)));
            out.key("timeout", quote(format_duration(watch.timeout)));
        }
        Workload::Membership(membership) => {
            out.key("every", quote(format_duration(membership.every)));
            out.key("spares", membership.spares);
            out.key("timeout", quote(format_duration(membership.timeout)));
        }
        Workload::Replace(replace) => {
            out.key("every", quote(format_duration(replace.every)));
            out.key("timeout", quote(format_duration(replace.timeout)));
        }
        Workload::Auth(auth) => {
            out.key("clients", auth.clients);
            out.key("rate", quote(auth.rate));
            out.key("keys", auth.keys);
            out.key("change-every", quote(format_duration(auth.change_every)));
            out.key("timeout", quote(format_duration(auth.timeout)));
        }
    }
}

fn write_fault(out: &mut Lines, planned: &PlannedFault) {
    out.table("[[fault]]");
    out.key("kind", quote(planned.fault.kind()));
    out.key("name", quote(&planned.name));
    out.key("seed", planned.seed);
    out.key("on", quote(planned.on));
    out.key("at", quote(format_duration(planned.at)));
    for (key, value) in planned.fault.parameters(|time| format_duration(*time)) {
        match value {
            Parameter::Word(word) => out.key(key, quote(word)),
            Parameter::Number(number) => out.key(key, number),
        }
    }
}
