//! Flags for whoever runs a member: health and metrics, logs, automatic compaction.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::flags::go_bool;
use super::urls::UrlList;
use super::{Error, duration, invalid};

/// See the module.
#[derive(Clone, Debug, Args)]
pub struct Operations {
    /// URLs that serve HTTP alone: the JSON gateway, health and metrics. --listen-client-urls then
    /// serve gRPC alone.
    #[arg(help_heading = "Member", long, value_name = "URLS", value_parser = optional_urls)]
    pub(super) listen_client_http_urls: Option<MaybeUrls>,

    /// Let a member that starts stand for election early, when it hears of no leader.
    #[arg(help_heading = "Member", long, value_name = "BOOL", default_value = "true", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub initial_election_tick_advance: bool,

    /// URLs that serve metrics and health alone, without client certificates.
    #[arg(help_heading = "Profiling and Monitoring", long, value_name = "URLS", value_parser = optional_urls)]
    pub(super) listen_metrics_urls: Option<MaybeUrls>,

    /// How much is measured: basic, or extensive for the time each kind of call takes.
    #[arg(
        help_heading = "Profiling and Monitoring",
        long,
        value_name = "DETAIL",
        default_value = "basic"
    )]
    pub metrics: MetricsDetail,

    /// Where messages go: stderr, stdout, default (stderr), or files, separated by commas.
    #[arg(
        help_heading = "Logging",
        long,
        value_name = "TARGETS",
        default_value = "default",
        value_delimiter = ','
    )]
    pub log_outputs: Vec<String>,

    /// What --auto-compaction-retention counts: periodic (time) or revision.
    #[arg(
        help_heading = "Auto-compaction",
        long,
        value_name = "MODE",
        default_value = "periodic"
    )]
    pub auto_compaction_mode: CompactionMode,

    /// What automatic compaction keeps: a time (a bare number means hours) or revisions; 0 turns it
    /// off.
    #[arg(
        help_heading = "Auto-compaction",
        long,
        value_name = "RETENTION",
        default_value = "0"
    )]
    pub(super) auto_compaction_retention: String,
}

/// URLs that may be given empty, which means none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MaybeUrls(Option<UrlList>);

fn optional_urls(text: &str) -> Result<MaybeUrls, String> {
    match text {
        "" => Ok(MaybeUrls(None)),
        _ => text.parse().map(|urls| MaybeUrls(Some(urls))),
    }
}

impl MaybeUrls {
    pub(super) fn urls(urls: &Option<MaybeUrls>) -> &[super::MemberUrl] {
        match urls {
            Some(MaybeUrls(Some(urls))) => urls.urls(),
            _ => &[],
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MetricsDetail {
    /// What dashboards and alerts need.
    Basic,
    /// And how long each kind of gRPC call takes.
    Extensive,
}

/// What automatic compaction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompactionMode {
    /// Time.
    Periodic,
    /// Revisions.
    Revision,
}

/// What automatic compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// What is younger than this.
    Age(Duration),
    /// This many revisions.
    Revisions(i64),
}

impl Operations {
    /// What automatic compaction keeps; `None` when it is off.
    ///
    /// # Errors
    /// When the retention is not of the form its mode asks for.
    pub fn auto_compaction(&self) -> Result<Option<Retention>, Error> {
        let text = self.auto_compaction_retention.as_str();
        let number = text.parse::<i64>().ok();
        if text.is_empty() || number == Some(0) {
            return Ok(None);
        }
        let retention = match (self.auto_compaction_mode, number) {
            (_, Some(number)) if number < 0 => None,
            (CompactionMode::Revision, number) => number.map(Retention::Revisions),
            (CompactionMode::Periodic, Some(hours)) => duration::parse(&format!("{hours}h"))
                .ok()
                .map(Retention::Age),
            (CompactionMode::Periodic, None) => duration::parse(text).ok().map(Retention::Age),
        };
        let expected = match self.auto_compaction_mode {
            CompactionMode::Periodic => "hours, or a time as 30m",
            CompactionMode::Revision => "a number of revisions",
        };
        match retention {
            Some(Retention::Age(age)) if age.is_zero() => Ok(None),
            Some(retention) => Ok(Some(retention)),
            None => invalid(format!(
                "--auto-compaction-retention \"{text}\": expected {expected}"
            )),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.log_outputs.iter().any(String::is_empty) || self.log_outputs.is_empty() {
            return invalid("--log-outputs has an empty target".into());
        }
        self.auto_compaction().map(drop)
    }
}
