//! TOML -> plan. Uses the scenario's own readers for every section that the formats share, so an
//! edited plan gets the same checks and the same errors as a scenario.

use std::path::Path;
use std::time::Duration;

use super::text::LAST_LINE;
use super::{Plan, PlannedFault, PlannedMember, PlannedWorkload, VERSION};
use crate::scenario::fields::Fields;
use crate::scenario::read_fault::{FaultContext, TimeReader, read_fault};
use crate::scenario::schema::{
    self, FAULTS_MAX, KeyDoc, Kind, MEMBERS_MAX, Table, WORKLOADS_MAX, required,
};
use crate::scenario::source::{self, Problem, Value};
use crate::scenario::{ScenarioError, ServerFlags, Source, read_tables, read_text, sections};

const SEED: KeyDoc = required(
    "seed",
    Kind::Count {
        min: 0,
        max: i64::MAX as u64,
    },
    "The seed of its own draws.",
);

/// The keys of `[[member]]` in a plan.
const MEMBER: Table = Table {
    name: "member",
    doc: "One member and what is peculiar to it.",
    groups: &[&[
        required(
            "number",
            Kind::Count {
                min: 1,
                max: MEMBERS_MAX as u64,
            },
            "From 1, in order.",
        ),
        required(
            "clock-offset",
            Kind::Offset,
            "How far its wall clock is ahead of true time.",
        ),
        required(
            "clock-drift-ppm",
            Kind::Signed { max: 500_000 },
            "How fast its clocks run, in parts per million.",
        ),
        required(
            "defects",
            Kind::Texts,
            "Deliberate mistakes built into it, by name.",
        ),
    ]],
};

/// The keys of a plan.
pub const PLAN: Table = Table {
    name: "plan",
    doc: "One run with every choice made.",
    groups: &[&[
        required(
            "version",
            Kind::Count {
                min: 1,
                max: u32::MAX as u64,
            },
            "Version of the format.",
        ),
        required("scenario", Kind::Text, "The scenario's name."),
        required("path", Kind::Text, "The scenario's path."),
        required("description", Kind::Text, "What the scenario is for."),
        SEED,
        required(
            "overrides",
            Kind::Texts,
            "The `--set` overrides that went into it.",
        ),
        required(
            "cluster",
            Kind::Table(&schema::CLUSTER),
            schema::CLUSTER.doc,
        ),
        required("time", Kind::Table(&schema::TIME), schema::TIME.doc),
        required(
            "network",
            Kind::Table(&schema::NETWORK),
            schema::NETWORK.doc,
        ),
        required("disk", Kind::Table(&schema::DISK), schema::DISK.doc),
        required("expect", Kind::Table(&schema::EXPECT), schema::EXPECT.doc),
        required("member", Kind::Tables(&[MEMBER]), "The members."),
        required(
            "workload",
            Kind::Tables(schema::WORKLOADS),
            "What the clients do.",
        ),
        schema::key(
            "fault",
            Kind::Tables(schema::FAULTS),
            "none",
            "What goes wrong, and when.",
        ),
    ]],
};

/// What a planned workload has besides the scenario's keys.
const WORKLOAD_EXTRA: &[KeyDoc] = &[required("name", Kind::Text, "Its kind and number."), SEED];
/// What a planned fault has besides the scenario's keys.
const FAULT_EXTRA: &[KeyDoc] = &[SEED];

impl Plan {
    /// Reads the plan in the file at `path`, shown to the user as `shown`.
    ///
    /// # Errors
    /// When it cannot be read, or with the first thing that is wrong with it.
    pub fn load(path: &Path, shown: &str, flags: &dyn ServerFlags) -> Result<Plan, ScenarioError> {
        Plan::parse(shown, &read_text(path, shown)?, flags)
    }

    /// Reads a plan from its text; `name` is what errors call it.
    ///
    /// # Errors
    /// The first thing that is wrong with it, rendered with its line.
    pub fn parse(name: &str, text: &str, flags: &dyn ServerFlags) -> Result<Plan, ScenarioError> {
        let sources = [Source {
            name: name.to_string(),
            text: text.to_string(),
        }];
        read(text, flags).map_err(|problem| ScenarioError::new(&problem, &sources))
    }
}

fn read(text: &str, flags: &dyn ServerFlags) -> Result<Plan, Problem> {
    let cut_short = text.trim_end().lines().next_back().map(str::trim) != Some(LAST_LINE);
    let root = source::parse_document(0, text).map_err(|problem| match cut_short {
        true => problem.help(format!(
            "the file seems cut short: a plan's last line is `{LAST_LINE}`"
        )),
        false => problem,
    })?;
    let version = match root.get("version") {
        None => {
            return Err(Problem::general("this is not a plan: it has no `version`")
                .help("a scenario is run with `vetcd-sim run FILE`"));
        }
        Some(node) => match node.value {
            Value::Integer(version) => (version, node.place.clone()),
            _ => {
                return Err(Problem::at(
                    node.place.clone(),
                    "`version` is a whole number",
                ));
            }
        },
    };
    if version.0 != i64::from(VERSION) {
        let message = format!(
            "this plan has version {}, and this build reads {VERSION}",
            version.0
        );
        return Err(Problem::at(version.1, message).help(
            "run the scenario again to get a plan of this build, or use the build that wrote it",
        ));
    }
    if cut_short {
        let end = source::Place {
            source: 0,
            span: text.trim_end().len()..text.trim_end().len(),
        };
        return Err(Problem::at(end, "the plan is cut short").help(format!(
            "a plan's last line is `{LAST_LINE}`; if nothing is missing, add it"
        )));
    }
    build(&root, flags)
}

fn build(root: &source::Node, flags: &dyn ServerFlags) -> Result<Plan, Problem> {
    let fields = Fields::open(root, &PLAN, &[])?;
    fields.written("version");
    let cluster = sections::cluster(&fields, flags)?;
    let time = sections::time(&fields)?;
    let disk = sections::disk(&fields)?;
    let context = FaultContext {
        members: cluster.members,
        run: time.run,
        power_loss: disk.power_loss,
    };
    let plan = Plan {
        scenario: fields.text("scenario")?,
        path: fields.text("path")?,
        description: fields.text("description")?,
        seed: fields.count("seed")?,
        overrides: fields.texts("overrides")?,
        members: members(&fields, cluster.members)?,
        server: cluster.server,
        network: sections::network(&fields)?,
        workloads: workloads(&fields)?,
        faults: faults(&fields, &context)?,
        expect: sections::expect(&fields)?,
        time,
        disk,
    };
    fields.finish();
    Ok(plan)
}

fn members(root: &Fields<'_>, count: u32) -> Result<Vec<PlannedMember>, Problem> {
    let mut members = Vec::new();
    for node in read_tables(root, "member", MEMBERS_MAX as usize)? {
        let fields = Fields::open(node, &MEMBER, &[])?;
        let number = fields.count("number")?;
        if number != members.len() as u64 + 1 {
            let message = format!("this should be member {}", members.len() + 1);
            return Err(Problem::at(fields.place_of("number"), message));
        }
        let drift = fields.signed("clock-drift-ppm")?;
        let defects = fields.texts("defects")?;
        vetcd::defects::Defects::by_name(defects.iter().map(String::as_str))
            .map_err(|text| Problem::at(fields.place_of("defects"), text))?;
        members.push(PlannedMember {
            number: u32::try_from(number).expect("the documented bound fits 32 bits"),
            clock_offset: fields.offset("clock-offset")?,
            clock_drift_ppm: i32::try_from(drift).expect("the documented bound fits 32 bits"),
            defects,
        });
        fields.finish();
    }
    if members.len() != count as usize {
        return Err(Problem::at(
            root.place_of("cluster"),
            format!(
                "the cluster has {count} members and [[member]] lists {}",
                members.len()
            ),
        ));
    }
    Ok(members)
}

fn workloads(root: &Fields<'_>) -> Result<Vec<PlannedWorkload>, Problem> {
    let mut workloads = Vec::new();
    for node in read_tables(root, "workload", WORKLOADS_MAX)? {
        let (fields, workload) = sections::workload(node, WORKLOAD_EXTRA)?;
        let name = fields.text("name")?;
        workloads.push(PlannedWorkload {
            name,
            seed: fields.count("seed")?,
            workload,
        });
        fields.finish();
    }
    Ok(workloads)
}

fn faults(root: &Fields<'_>, context: &FaultContext) -> Result<Vec<PlannedFault>, Problem> {
    let time: TimeReader<Duration> = TimeReader {
        read: |fields, key| fields.duration(key),
        longest: |time| *time,
    };
    let mut faults: Vec<PlannedFault> = Vec::new();
    for node in read_tables(root, "fault", FAULTS_MAX + 64)? {
        let read = read_fault(node, FAULT_EXTRA, context, &time)?;
        let name = read.name.ok_or_else(|| {
            Problem::at(node.place.clone(), "every fault of a plan needs a `name`")
        })?;
        if faults.iter().any(|fault| fault.name == name) {
            let place = read.fields.place_of("name");
            return Err(Problem::at(
                place,
                format!("two faults are called \"{name}\""),
            ));
        }
        let seed = read.fields.count("seed")?;
        faults.push(PlannedFault {
            name,
            at: read.at,
            on: read.on,
            seed,
            fault: read.fault,
        });
        read.fields.finish();
    }
    faults.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.name.cmp(&b.name)));
    Ok(faults)
}
