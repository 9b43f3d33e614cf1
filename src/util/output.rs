//! Results in etcdutl's formats.

use std::io::Write;

use serde::Serialize;

use super::Failure;
use super::cli::Format;
use crate::backend::key_index::KeyIndex;
use crate::mvcc::StateHash;
use crate::snapshot::etcd_schema::Status;

/// One result: what `simple` and `table` show, what `fields` calls it, and its JSON.
struct Column {
    title: &'static str,
    field: &'static str,
    shown: String,
    exact: String,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    hash: u32,
    revision: i64,
    #[serde(rename = "totalKey")]
    total_key: u64,
    #[serde(rename = "totalSize")]
    total_size: u64,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HashKvJson {
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyIndexJson {
    cluster_id: u64,
    member_id: u64,
    revision: i64,
    compact_revision: i64,
    total_key: u64,
    total_version: u64,
    total_block: u64,
    total_size: u64,
}

fn column(
    title: &'static str,
    field: &'static str,
    shown: impl ToString,
    exact: impl ToString,
) -> Column {
    Column {
        title,
        field,
        shown: shown.to_string(),
        exact: exact.to_string(),
    }
}

pub(super) fn status(out: &mut dyn Write, format: Format, status: &Status) -> Result<(), Failure> {
    let columns = [
        column("hash", "Hash", format!("{:x}", status.hash), status.hash),
        column("revision", "Revision", status.revision, status.revision),
        column("total keys", "Keys", status.keys, status.keys),
        column(
            "total size",
            "Size",
            human_bytes(status.bytes),
            status.bytes,
        ),
        column("version", "Version", &status.version, &status.version),
    ];
    let json = StatusJson {
        hash: status.hash,
        revision: status.revision,
        total_key: status.keys,
        total_size: status.bytes,
        version: &status.version,
    };
    print(out, format, &columns, &json)
}

pub(super) fn hash_kv(
    out: &mut dyn Write,
    format: Format,
    hash: &StateHash,
) -> Result<(), Failure> {
    let columns = [
        column("hash", "Hash", hash.hash, hash.hash),
        column(
            "hash revision",
            "Hash revision",
            hash.revision,
            hash.revision,
        ),
        column(
            "compact revision",
            "Compact revision",
            hash.compact_revision,
            hash.compact_revision,
        ),
    ];
    let json = HashKvJson {
        hash: hash.hash,
        hash_revision: hash.revision,
        compact_revision: hash.compact_revision,
    };
    print(out, format, &columns, &json)
}

pub(super) fn key_index(
    out: &mut dyn Write,
    format: Format,
    index: &KeyIndex,
) -> Result<(), Failure> {
    let (owner, bytes) = (index.owner(), index.file_bytes());
    let hex = |id: u64| format!("{id:x}");
    let (cluster, member) = (owner.cluster_id, owner.member_id);
    let (revision, compacted) = (index.revision(), index.compact_revision());
    let columns = [
        column("cluster", "ClusterID", hex(cluster), cluster),
        column("member", "MemberID", hex(member), member),
        column("revision", "Revision", revision, revision),
        column("compact revision", "Compact revision", compacted, compacted),
        column("total keys", "Keys", index.keys(), index.keys()),
        column("versions", "Versions", index.versions(), index.versions()),
        column("blocks", "Blocks", index.blocks(), index.blocks()),
        column("total size", "Size", human_bytes(bytes), bytes),
    ];
    let json = KeyIndexJson {
        cluster_id: cluster,
        member_id: member,
        revision,
        compact_revision: compacted,
        total_key: index.keys(),
        total_version: index.versions(),
        total_block: index.blocks(),
        total_size: bytes,
    };
    print(out, format, &columns, &json)
}

fn print(
    out: &mut dyn Write,
    format: Format,
    columns: &[Column],
    json: &impl Serialize,
) -> Result<(), Failure> {
    match format {
        Format::Simple => {
            let values: Vec<&str> = columns.iter().map(|column| &*column.shown).collect();
            writeln!(out, "{}", values.join(", "))?;
        }
        Format::Fields => {
            for column in columns {
                writeln!(out, "\"{}\" : {}", column.field, column.exact)?;
            }
        }
        Format::Json => {
            let json = serde_json::to_string(json).expect("numbers and text have a JSON form");
            writeln!(out, "{json}")?;
        }
        Format::Table => out.write_all(table(columns).as_bytes())?,
    }
    Ok(())
}

/// A table of one row: titles in capitals and centred, values to the right.
fn table(columns: &[Column]) -> String {
    let width = |column: &Column| column.title.len().max(column.shown.len());
    let rule: String = columns
        .iter()
        .map(|column| format!("+{}", "-".repeat(width(column) + 2)))
        .collect();
    let titles: String = columns
        .iter()
        .map(|column| format!("| {:^1$} ", column.title.to_uppercase(), width(column)))
        .collect();
    let values: String = columns
        .iter()
        .map(|column| format!("| {:>1$} ", column.shown, width(column)))
        .collect();
    format!("{rule}+\n{titles}|\n{rule}+\n{values}|\n{rule}+\n")
}

/// A size in powers of 1000, as etcdutl rounds it: one digit after the point below 10.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog(1000) as usize;
    let tenths = (bytes as f64 / 1000_f64.powi(power as i32) * 10.0 + 0.5).floor();
    let value = tenths / 10.0;
    let digits = if value < 10.0 { 1 } else { 0 };
    format!("{value:.digits$} {}", UNITS[power])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    /// Printed by etcdutl 3.5.1 for files of these sizes, or by the rule it follows.
    #[test]
    fn sizes_are_rounded_as_etcdutl_does() {
        for (bytes, shown) in [
            (0, "0 B"),
            (9, "9 B"),
            (512, "512 B"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (20_480, "20 kB"),
            (40_960, "41 kB"),
            (1_500_000, "1.5 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(human_bytes(bytes), shown, "{bytes}");
        }
    }

    /// What etcdutl 3.5.1 prints, with the column that 3.6 added.
    #[test]
    fn formats() {
        let sample = Status {
            hash: 0x18ae_83b6,
            revision: 11,
            keys: 26,
            bytes: 40_960,
            version: "3.6.0".to_owned(),
        };
        let printed = |format| {
            let mut out = Vec::new();
            status(&mut out, format, &sample).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(Format::Simple), "18ae83b6, 11, 26, 41 kB, 3.6.0\n");
        assert_eq!(
            printed(Format::Json),
            "{\"hash\":414090166,\"revision\":11,\"totalKey\":26,\"totalSize\":40960,\
             \"version\":\"3.6.0\"}\n"
        );
        assert_eq!(
            printed(Format::Fields),
            "\"Hash\" : 414090166\n\"Revision\" : 11\n\"Keys\" : 26\n\"Size\" : 40960\n\
             \"Version\" : 3.6.0\n"
        );
        assert_eq!(
            printed(Format::Table),
            "+----------+----------+------------+------------+---------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
             +----------+----------+------------+------------+---------+\n\
             | 18ae83b6 |       11 |         26 |      41 kB |   3.6.0 |\n\
             +----------+----------+------------+------------+---------+\n"
        );
    }
}
