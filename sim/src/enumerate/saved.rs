//! A state in a file, so that it can be gone back to.

use serde::{Deserialize, Serialize};

use super::Failure;
use super::drive::drive;
use super::states::{power_death, process_death};
use super::workload::{Operation, Workload};
use vetcd::defects::Defects;

const FORMAT: &str = "vetcd-sim enumerate state";
/// Since 2 with the pace.
const VERSION: u32 = 2;
/// A saved outcome is not longer than this; a real one has some hundred answers.
const ANSWERS_MAX: usize = 1 << 20;

/// How to get to a state of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// The workload.
    pub workload: Workload,
    /// The disk operation that fails, counted from 0.
    pub fail_at: Option<usize>,
    /// How many changing disk operations are done when the end comes.
    pub point: usize,
    /// The unit in which written bytes survive.
    pub sector: u32,
    /// The end.
    pub death: Death,
    /// The server's deliberate mistakes.
    pub defects: Vec<String>,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process dies, starts again, and then the machine loses its power.
    Process,
    /// The machine loses its power; of what was un-synced this survives, in the order in which the
    /// disk's model asks.
    Power(Vec<bool>),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    operations: Vec<String>,
    pace: String,
    fail_at: Option<usize>,
    point: usize,
    sector: u32,
    /// Absent when the process dies; else a `1` for each that survives and a `0` for each that does
    /// not.
    survives: Option<String>,
    defects: Vec<String>,
    reason: String,
}

impl Failure {
    /// As text for a file.
    pub fn to_json(&self) -> String {
        let state = &self.state;
        let survives = match &state.death {
            Death::Process => None,
            Death::Power(given) => Some(given.iter().map(|s| if *s { '1' } else { '0' }).collect()),
        };
        let operations = state.workload.operations.iter();
        let file = File {
            format: FORMAT.into(),
            version: VERSION,
            operations: operations.map(ToString::to_string).collect(),
            pace: state.workload.pace.to_string(),
            fail_at: state.fail_at,
            point: state.point,
            sector: state.sector,
            survives,
            defects: state.defects.clone(),
            reason: self.reason.clone(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("strings and numbers");
        text.push('\n');
        text
    }

    /// The name of its file: the workload, and where it ends.
    pub fn file_name(&self) -> String {
        let state = &self.state;
        let mut name = String::from("enumerate");
        for operation in &state.workload.operations {
            name += &format!("-{operation}");
        }
        name += &format!("-{}", state.workload.pace);
        if let Some(fail_at) = state.fail_at {
            name += &format!("-fail{fail_at}");
        }
        name + &format!("-at{}.json", state.point)
    }
}

impl SavedState {
    /// Reads what [`Failure::to_json`] wrote.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn from_json(text: &str) -> Result<SavedState, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.format != FORMAT || file.version != VERSION {
            return Err(format!(
                "it is a \"{}\" of version {}, and this build reads \"{FORMAT}\" of version {VERSION}",
                file.format, file.version
            ));
        }
        let operations = file.operations.iter().map(|name| name.parse());
        let death = match &file.survives {
            None => Death::Process,
            Some(answers) if answers.len() > ANSWERS_MAX => {
                return Err(format!("\"survives\" is longer than {ANSWERS_MAX}"));
            }
            Some(answers) => {
                let answers = answers.chars().map(|answer| match answer {
                    '0' => Ok(false),
                    '1' => Ok(true),
                    other => Err(format!("\"survives\" holds a '{other}', not only 0 and 1")),
                });
                Death::Power(answers.collect::<Result<_, _>>()?)
            }
        };
        if file.sector == 0 {
            return Err("\"sector\" is at least 1".into());
        }
        let operations: Vec<Operation> = operations.collect::<Result<_, _>>()?;
        if operations.len() > super::OPERATIONS_MAX {
            let most = super::OPERATIONS_MAX;
            return Err(format!("a workload has at most {most} operations"));
        }
        Ok(SavedState {
            workload: Workload {
                operations,
                pace: file.pace.parse()?,
            },
            fail_at: file.fail_at,
            point: file.point,
            sector: file.sector,
            death,
            defects: file.defects,
        })
    }
}

/// Goes back to a state; `Some` says what is wrong there.
///
/// # Errors
/// When this build cannot get there: a mistake that is not built in, or a workload that has become
/// shorter.
pub fn replay(state: &SavedState) -> Result<Option<String>, String> {
    let defects = Defects::by_name(state.defects.iter().map(String::as_str))?;
    let attempt = drive(&state.workload, state.fail_at, &defects);
    let image = attempt.images.get(state.point).ok_or_else(|| {
        let last = attempt.images.len() - 1;
        format!("the workload has become shorter: its last point is {last}")
    })?;
    let promise = attempt.promise(state.point);
    let judged = match &state.death {
        Death::Process => process_death(&attempt, image, promise),
        Death::Power(survives) => power_death(&attempt, image, promise, state.sector, survives),
    };
    Ok(judged.err())
}
