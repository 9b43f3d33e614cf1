//! Every path of the JSON gateway by plain HTTP, against what etcd 3.5.1 answers.
//!
//! The requests and their answers are in `scripts/`; [`script`] has the syntax. Each script is played
//! on vetcd, and on a real etcd where one is found beside etcdctl (see `support/process.rs`), so the
//! answers written down are etcd's own; a step where vetcd means to differ has both, and the reason.
//! KV in detail is in `tests/gateway.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests stand outside any host"
)]

#[path = "../support/http.rs"]
mod http;
#[path = "../support/process.rs"]
mod process;

mod clients;
mod script;

use std::collections::BTreeSet;
use std::path::PathBuf;

use script::{Kind, Player};

const SCRIPTS: &[(&str, &str)] = &[
    ("keys", include_str!("scripts/keys.txt")),
    ("inputs", include_str!("scripts/inputs.txt")),
    ("watch", include_str!("scripts/watch.txt")),
    ("leases", include_str!("scripts/leases.txt")),
    ("auth", include_str!("scripts/auth.txt")),
    ("members", include_str!("scripts/members.txt")),
    ("maintenance", include_str!("scripts/maintenance.txt")),
];

/// Paths that are never answered with success, and why.
const REFUSED: &[(&str, &str)] = &[(
    "/maintenance/downgrade",
    "there is no older vetcd, so every downgrade is refused",
)];

/// Plays all scripts, each on a member of its own, and shows all steps that differ.
async fn play(kind: Kind, program: PathBuf) {
    let playing = SCRIPTS.iter().map(|(name, text)| {
        let program = program.clone();
        async move {
            let mut player = Player::start(kind, &program).await;
            player.play(name, text).await;
            player.differing
        }
    });
    let differing = futures::future::join_all(playing).await.concat();
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn vetcd_answers_as_written() {
    play(Kind::Vetcd, env!("CARGO_BIN_EXE_vetcd").into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_answers_as_written() {
    let Some(ctl) = process::find_etcdctl() else {
        return;
    };
    let etcd = ctl.with_file_name("etcd");
    if !etcd.is_file() {
        eprintln!("skipped: no etcd beside {}", ctl.display());
        return;
    }
    play(Kind::Etcd, etcd).await;
}

#[test]
fn a_path_that_is_not_called_or_only_refused_is_noticed() {
    let script = "> POST /v3/a {}\n< 200 {}\n>~@x POST /v3/b {}\n<etcd 200 {}\n<vetcd 400 {}\n\
                  >s POST /v3/c {}\n<s 200 {\"error\":1}\n# > POST /v3/d\n> GET /v3/e\n< 200 {}\n";
    let (mut called, mut answered) = (BTreeSet::new(), BTreeSet::new());
    script::paths(script, &mut called, &mut answered);
    assert_eq!(called, ["/a", "/b", "/c"].map(String::from).into());
    assert_eq!(answered, ["/a"].map(String::from).into());
}

#[test]
fn every_path_of_the_table_is_called_and_answered() {
    let (mut called, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in SCRIPTS {
        script::paths(text, &mut called, &mut answered);
    }
    for (path, _) in vetcd::api::http::GATEWAY_PATHS {
        assert!(called.contains(*path), "no script calls /v3{path}");
        let refused = REFUSED.iter().any(|(known, _)| known == path);
        assert_eq!(
            answered.contains(*path),
            !refused,
            "whether /v3{path} ever succeeds in a script"
        );
    }
}
