//! TOML text -> [`Scenario`].

use std::path::Path;
use std::time::Duration;

use super::fields::{Drawn, Fields, list_of};
use super::overrides;
use super::read_fault::{FaultContext, TimeReader, read_fault, settle_names};
use super::schema::{self, FAULTS_MAX, WORKLOADS_MAX};
use super::sections;
use super::source::{self, Node, Place, Problem, SOURCE_LENGTH_MAX, ScenarioError, Source, Value};
use super::{Clock, FaultRule, Scenario, ServerFlags, Swarm, Workload};

/// Reads the scenario at `path`, shown to the user as `shown`.
///
/// # Errors
/// When the file cannot be read, or with the first thing that is wrong with it.
pub fn load(
    path: &Path,
    shown: &str,
    sets: &[String],
    flags: &dyn ServerFlags,
) -> Result<Scenario, ScenarioError> {
    let text = read_text(path, shown)?;
    parse(
        Source {
            name: shown.to_string(),
            text,
        },
        sets,
        flags,
    )
}

/// Reads a text file of bounded length.
///
/// # Errors
/// When it cannot be read, is too long or is not UTF-8.
pub fn read_text(path: &Path, shown: &str) -> Result<String, ScenarioError> {
    let fail = |why: String| {
        ScenarioError::new(
            &Problem::general(format!("cannot read {shown}: {why}")),
            &[],
        )
    };
    let length = std::fs::metadata(path)
        .map_err(|error| fail(error.to_string()))?
        .len();
    if length > SOURCE_LENGTH_MAX as u64 {
        return Err(fail(format!(
            "{length} bytes are too many (at most {SOURCE_LENGTH_MAX})"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => fail("it is not UTF-8 text".into()),
        _ => fail(error.to_string()),
    })
}

/// Reads a scenario from its text, with `--set` overrides applied.
///
/// # Errors
/// The first thing that is wrong with it, rendered with its line.
pub fn parse(
    source: Source,
    sets: &[String],
    flags: &dyn ServerFlags,
) -> Result<Scenario, ScenarioError> {
    let path = source.name.clone();
    let mut sources = vec![source];
    sources.extend(sets.iter().map(|set| Source {
        name: "--set".into(),
        text: set.clone(),
    }));
    let scenario = build(&sources, flags);
    let mut scenario = scenario.map_err(|problem| ScenarioError::new(&problem, &sources))?;
    scenario.name = name_of(&path);
    scenario.path = path;
    scenario.overrides = sets.to_vec();
    Ok(scenario)
}

/// `scenarios/smoke/quickstart.toml` is called `smoke/quickstart`.
pub fn name_of(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = path.strip_suffix(".toml").unwrap_or(&path);
    let inside = match path.strip_prefix("scenarios/") {
        Some(inside) => inside,
        None => match path.rsplit_once("/scenarios/") {
            Some((_, inside)) => inside,
            None => path.rsplit('/').next().unwrap_or(path),
        },
    };
    inside.to_string()
}

fn build(sources: &[Source], flags: &dyn ServerFlags) -> Result<Scenario, Problem> {
    let mut root = source::parse_document(0, &sources[0].text)?;
    for (index, set) in sources.iter().enumerate().skip(1) {
        overrides::apply(&mut root, index, &set.text, flags)?;
    }
    let fields = Fields::open(&root, &schema::SCENARIO, &[])?;
    let cluster = sections::cluster(&fields, flags)?;
    let time = sections::time(&fields)?;
    let disk = sections::disk(&fields)?;
    let context = FaultContext {
        members: cluster.members,
        run: time.run,
        power_loss: disk.power_loss,
    };
    let scenario = Scenario {
        name: String::new(),
        path: String::new(),
        description: fields.text("description")?,
        tags: fields.texts("tags")?,
        network: sections::network(&fields)?,
        clock: clock(&fields)?,
        workloads: workloads(&fields)?,
        faults: faults(&fields, &context)?,
        swarm: swarm(&fields, context.members)?,
        expect: sections::expect(&fields)?,
        overrides: Vec::new(),
        cluster,
        time,
        disk,
    };
    fields.finish();
    Ok(scenario)
}

fn clock(root: &Fields<'_>) -> Result<Clock, Problem> {
    let node = root.value("clock")?;
    let fields = Fields::open(&node, &schema::CLOCK, &[])?;
    let drift = fields.count("drift-ppm-max")?;
    let clock = Clock {
        offset_max: fields.duration("offset-max")?,
        drift_ppm_max: u32::try_from(drift).expect("the documented bound fits 32 bits"),
    };
    fields.finish();
    Ok(clock)
}

/// The tables under `key`, at most `max` of them.
pub(crate) fn tables<'a>(
    fields: &Fields<'a>,
    key: &'static str,
    max: usize,
) -> Result<&'a [Node], Problem> {
    let Some(node) = fields.written(key) else {
        return Ok(&[]);
    };
    if let Value::Table(_) = node.value {
        return Err(
            Problem::at(node.place.clone(), format!("`{key}` is a list of tables"))
                .help(format!("write [[{key}]] with two pairs of brackets")),
        );
    }
    let elements = list_of(node, key)?;
    match elements.get(max) {
        Some(extra) => Err(Problem::at(
            extra.place.clone(),
            format!("more than {max} of `{key}` are too many"),
        )),
        None => Ok(elements),
    }
}

fn workloads(root: &Fields<'_>) -> Result<Vec<Workload>, Problem> {
    let mut workloads = Vec::new();
    for node in tables(root, "workload", WORKLOADS_MAX)? {
        let (fields, workload) = sections::workload(node, &[])?;
        fields.finish();
        workloads.push(workload);
    }
    if workloads.is_empty() {
        let default = source::parse_value(usize::MAX, "{ kind = \"kv\" }", 0);
        workloads.push(sections::workload(&default, &[])?.1);
    }
    Ok(workloads)
}

fn faults(root: &Fields<'_>, context: &FaultContext) -> Result<Vec<FaultRule>, Problem> {
    let time = TimeReader {
        read: |fields, key| fields.drawn(key),
        longest: longest_drawn,
    };
    let mut rules: Vec<(FaultRule, Place)> = Vec::new();
    for node in tables(root, "fault", FAULTS_MAX)? {
        let read = read_fault(node, &[], context, &time)?;
        let named = read.name.is_some();
        let name = read.name.unwrap_or_default();
        let rule = FaultRule {
            name,
            named,
            on: read.on,
            at: read.at,
            fault: read.fault,
        };
        rules.push((rule, read.fields.place_of("name")));
        read.fields.finish();
    }
    settle_names(&mut rules)?;
    Ok(rules.into_iter().map(|(rule, _)| rule).collect())
}

fn longest_drawn(drawn: &Drawn) -> Duration {
    drawn.max
}

fn swarm(root: &Fields<'_>, members: u32) -> Result<Option<Swarm>, Problem> {
    let Some(node) = root.written("swarm") else {
        return Ok(None);
    };
    let fields = Fields::open(node, &schema::SWARM, &[])?;
    let faults = fields.choices("faults")?;
    if faults.is_empty() {
        return Err(Problem::at(
            fields.place_of("faults"),
            "a swarm needs kinds to choose from",
        ));
    }
    if members < 2 && faults.contains(&"partition") {
        return Err(Problem::at(
            fields.place_of("faults"),
            "a cluster of one cannot be partitioned",
        ));
    }
    let budget = fields.count("budget")?;
    let budget = u32::try_from(budget).expect("the documented bound fits 32 bits");
    fields.finish();
    Ok(Some(Swarm { faults, budget }))
}
