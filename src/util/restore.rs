//! `snapshot restore`: a new cluster's member from a snapshot.

use super::cli::RestoreFlags;
use super::snapshot_file::Checksum;
use super::{Failure, Files, Streams, failed};
use crate::config::Config;
use crate::server::offline;
use crate::snapshot::etcd_schema::Contents;

impl Files {
    pub(super) fn restore(
        &self,
        flags: &RestoreFlags,
        streams: &mut Streams<'_>,
    ) -> Result<(), Failure> {
        if (flags.bump_revision > 0) != flags.mark_compacted {
            let message = "--bump-revision and --mark-compacted go together: give both or neither";
            return Err(Failure::Usage(message.to_owned()));
        }
        let config = config(flags)?;
        let cluster = config.cluster();
        let cluster = cluster.map_err(|error| Failure::Usage(error.to_string()))?;
        let data_dir = config.data_dir();
        let wal_dir = flags.wal_dir.clone();
        let wal_dir = wal_dir.unwrap_or_else(|| offline::wal_dir(&data_dir));
        for directory in [&data_dir, &wal_dir] {
            if self.holds_anything(directory)? {
                return Err(failed(format!(
                    "{} is not empty: move it away, or name another with --data-dir or --wal-dir",
                    directory.display()
                )));
            }
        }
        let checksum = match flags.skip_hash_check {
            true => Checksum::Ignored,
            false => Checksum::Required,
        };
        let contents = self.contents(&flags.file, checksum)?;
        let Contents {
            mut state,
            records,
            unknown_buckets,
        } = contents;
        for bucket in unknown_buckets {
            writeln!(
                streams.err,
                "note: bucket \"{bucket}\" is unknown and is not restored"
            )?;
        }
        if flags.bump_revision > 0 && !state.bump_revision(flags.bump_revision) {
            let message = format!("--bump-revision {} is too large", flags.bump_revision);
            return Err(Failure::Usage(message));
        }
        let (revision, member) = (state.revision(), cluster.member_id);
        let (cluster_id, records_held) = (cluster.cluster_id, state.record_count());
        offline::restore(&self.disk, &data_dir, &wal_dir, cluster, state, &records).map_err(
            |error| {
                failed(format!(
                    "{error}. {} is half made: remove it before the next attempt",
                    data_dir.display()
                ))
            },
        )?;
        writeln!(
            streams.err,
            "restored {}: revision {revision}, {records_held} versions of keys, into {} as member \
             {member:x} of cluster {cluster_id:x}",
            flags.file.display(),
            data_dir.display()
        )?;
        Ok(())
    }
}

/// The flags go through the server's own reading of them, so that it accepts what was made here.
fn config(flags: &RestoreFlags) -> Result<Config, Failure> {
    let mut pairs = vec![
        ("name", flags.name.clone()),
        ("initial-cluster", flags.initial_cluster.clone()),
        ("initial-cluster-token", flags.initial_cluster_token.clone()),
        (
            "initial-advertise-peer-urls",
            flags.initial_advertise_peer_urls.clone(),
        ),
    ];
    if let Some(data_dir) = &flags.data_dir {
        pairs.push(("data-dir", data_dir.to_string_lossy().into_owned()));
    }
    Config::from_pairs(pairs).map_err(|error| Failure::Usage(error.to_string()))
}
