//! Histories written by hand, right and wrong.
#![allow(clippy::unwrap_used, reason = "a test may")]

use super::*;

type Record = AuthRecord;

fn keys(key: &str, end: &str) -> Keys {
    Keys {
        key: Bytes::copy_from_slice(key.as_bytes()),
        end: Bytes::copy_from_slice(end.as_bytes()),
    }
}

fn record(from: u64, to: Option<u64>, action: AuthAction, outcome: AuthOutcome) -> Record {
    AuthRecord {
        client: 0,
        invoked: from,
        returned: to,
        action,
        outcome,
    }
}

fn done(from: u64, to: u64, action: AuthAction) -> Record {
    record(from, Some(to), action, AuthOutcome::Done)
}

fn unknown(from: u64, action: AuthAction) -> Record {
    record(from, None, action, AuthOutcome::Unknown("time-out".into()))
}

fn add_role(role: &str) -> AuthAction {
    AuthAction::AddRole { role: role.into() }
}

fn delete_role(role: &str) -> AuthAction {
    AuthAction::DeleteRole { role: role.into() }
}

fn give(role: &str) -> AuthAction {
    AuthAction::GrantRole {
        user: "u".into(),
        role: role.into(),
    }
}

fn take(role: &str) -> AuthAction {
    AuthAction::RevokeRole {
        user: "u".into(),
        role: role.into(),
    }
}

fn permit(role: &str, read: bool, write: bool, keys: Keys) -> AuthAction {
    AuthAction::Grant {
        role: role.into(),
        read,
        write,
        keys,
    }
}

fn need(write: bool, key: &str, end: &str) -> Need {
    Need {
        write,
        keys: keys(key, end),
    }
}

fn ask(from: u64, to: u64, needs: &[Need], outcome: AuthOutcome) -> Record {
    let action = AuthAction::Use {
        user: "u".into(),
        needs: needs.to_vec(),
    };
    record(from, Some(to), action, outcome)
}

/// `u` may write `[a, c)` by role `r`, certainly from 40 on; and then what a case adds.
fn with(more: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let user = AuthAction::AddUser { user: "u".into() };
    let mut records = vec![
        done(0, 5, user),
        done(6, 9, AuthAction::Enable),
        done(10, 15, add_role("r")),
        done(20, 25, permit("r", false, true, keys("a", "c"))),
        done(30, 40, give("r")),
    ];
    records.extend(more);
    records
}

fn is_right(more: impl IntoIterator<Item = Record>) {
    let verdict = check(&with(more));
    assert!(verdict.is_ok(), "{verdict}");
}

/// Nothing can be judged, and so nothing is passed.
fn says_nothing(more: impl IntoIterator<Item = Record>) {
    let verdict = check(&with(more));
    assert!(matches!(verdict, Verdict::Undetermined(_)), "{verdict}");
}

fn is_wrong(more: impl IntoIterator<Item = Record>, word: &str) {
    let story = check(&with(more)).violation().unwrap().to_string();
    assert!(story.contains(word), "{story}");
}

use AuthOutcome::{Denied, Done};

const STOLEN: &str = "without permission";
const WITHHELD: &str = "denied what was permitted throughout";

#[test]
fn what_is_permitted_succeeds_and_nothing_else() {
    let write_b = [need(true, "b", "")];
    is_right([ask(50, 60, &write_b, Done)]);
    is_wrong([ask(50, 60, &write_b, Denied)], WITHHELD);
    for other in [
        need(true, "c", ""),
        need(false, "b", ""),
        need(true, "a", "d"),
    ] {
        is_wrong([ask(50, 60, std::slice::from_ref(&other), Done)], STOLEN);
        is_right([ask(50, 60, &[other], Denied)]);
    }
    // One missing permission is enough.
    let both = [need(true, "b", ""), need(false, "b", "")];
    is_wrong([ask(50, 60, &both, Done)], STOLEN);
    is_right([ask(50, 60, &both, Denied)]);
}

#[test]
fn while_a_change_is_under_way_both_are_right() {
    let write_b = [need(true, "b", "")];
    // Being granted from 30 to 40.
    for (from, to) in [(28, 31), (32, 38), (39, 45)] {
        is_right([ask(from, to, &write_b, Done)]);
        is_right([ask(from, to, &write_b, Denied)]);
    }
    is_wrong([ask(27, 29, &write_b, Done)], STOLEN);
    // Being taken away from 50 to 60.
    let taken = done(50, 60, take("r"));
    for (from, to) in [(45, 52), (52, 58), (59, 65)] {
        is_right([taken.clone(), ask(from, to, &write_b, Done)]);
        is_right([taken.clone(), ask(from, to, &write_b, Denied)]);
    }
    is_wrong([taken.clone(), ask(41, 49, &write_b, Denied)], WITHHELD);
    is_wrong([taken, ask(61, 70, &write_b, Done)], STOLEN);
}

#[test]
fn each_way_to_take_a_permission_counts() {
    let write_b = [need(true, "b", "")];
    let ways = [
        take("r"),
        delete_role("r"),
        AuthAction::DeleteUser { user: "u".into() },
        AuthAction::Revoke {
            role: "r".into(),
            keys: keys("a", "c"),
        },
        // The same range, for reading now.
        permit("r", true, false, keys("a", "c")),
    ];
    for way in ways {
        let taken = done(50, 60, way);
        is_wrong([taken.clone(), ask(61, 70, &write_b, Done)], STOLEN);
        is_right([taken, ask(61, 70, &write_b, Denied)]);
    }
    // Another range of the same role is another permission.
    let other = done(
        50,
        60,
        AuthAction::Revoke {
            role: "r".into(),
            keys: keys("a", "b"),
        },
    );
    is_wrong([other, ask(61, 70, &write_b, Denied)], WITHHELD);
}

#[test]
fn a_permission_given_back_counts_again() {
    let write_b = [need(true, "b", "")];
    let there_and_back = [done(50, 60, take("r")), done(70, 80, give("r"))];
    let and = |last: Record| there_and_back.clone().into_iter().chain([last]);
    is_wrong(and(ask(62, 68, &write_b, Done)), STOLEN);
    is_right(and(ask(62, 72, &write_b, Done)));
    is_wrong(and(ask(82, 90, &write_b, Denied)), WITHHELD);
    // Not throughout.
    is_right(and(ask(45, 90, &write_b, Denied)));
}

#[test]
fn ranges_add_up() {
    let more = [
        done(41, 42, add_role("s")),
        done(43, 44, permit("s", true, true, keys("c", "e"))),
        done(45, 46, give("s")),
    ];
    let and = |last: Record| more.clone().into_iter().chain([last]);
    is_wrong(and(ask(50, 60, &[need(true, "b", "d")], Denied)), WITHHELD);
    is_right(and(ask(50, 60, &[need(true, "b", "d")], Done)));
    is_wrong(and(ask(50, 60, &[need(true, "b", "\0")], Done)), STOLEN);
    is_wrong(and(ask(50, 60, &[need(true, "b", "f")], Done)), STOLEN);
}

#[test]
fn an_unknown_change_may_come_at_any_later_time() {
    let write_b = [need(true, "b", "")];
    let lost = unknown(50, take("r"));
    for outcome in [Done, Denied] {
        is_right([lost.clone(), ask(900, 910, &write_b, outcome)]);
    }
    is_wrong([lost, ask(41, 49, &write_b, Denied)], WITHHELD);
    // So may a grant, even after the role was taken away for certain.
    let late = [unknown(45, give("r")), done(50, 60, take("r"))];
    for outcome in [Done, Denied] {
        is_right(
            late.clone()
                .into_iter()
                .chain([ask(900, 910, &write_b, outcome)]),
        );
    }
}

#[test]
fn what_is_gone_for_good_stays_gone() {
    let write_b = [need(true, "b", "")];
    // No late grant helps a role that is no more.
    let over = [unknown(45, give("r")), done(50, 60, delete_role("r"))];
    let and = |last: Record| over.clone().into_iter().chain([last]);
    is_wrong(and(ask(61, 70, &write_b, Done)), STOLEN);
    is_right(and(ask(59, 70, &write_b, Done)));
    // Unless all of it may have been made again; the role alone is not enough.
    let again = unknown(46, add_role("r"));
    is_wrong(
        and(ask(61, 70, &write_b, Done)).chain([again.clone()]),
        STOLEN,
    );
    let permitted = unknown(47, permit("r", false, true, keys("a", "c")));
    is_right(and(ask(61, 70, &write_b, Done)).chain([again, permitted]));
    let user = AuthAction::DeleteUser { user: "u".into() };
    let over = [unknown(45, give("r")), done(50, 60, user)];
    is_wrong(
        over.into_iter().chain([ask(61, 70, &write_b, Done)]),
        STOLEN,
    );
}

#[test]
fn root_may_everything_and_off_means_off() {
    let everything = need(true, "\0", "\0");
    let by = |user: &str, outcome| {
        let needs = vec![everything.clone()];
        let user = user.into();
        record(50, Some(60), AuthAction::Use { user, needs }, outcome)
    };
    is_right([by("root", Done)]);
    is_wrong([by("root", Denied)], WITHHELD);
    is_wrong([by("u", Done)], STOLEN);
    is_wrong([by("stranger", Done)], STOLEN);
    says_nothing([unknown(45, AuthAction::Disable), by("u", Done)]);
    // Before authentication is on nobody is asked.
    says_nothing([ask(6, 8, std::slice::from_ref(&everything), Done)]);
}

#[test]
fn what_says_nothing_is_counted_as_such() {
    let write_z = [need(true, "z", "")];
    let refused = AuthOutcome::Refused("etcdserver: invalid auth token".into());
    let records = with([
        ask(50, 60, &write_z, refused),
        AuthRecord {
            returned: None,
            ..ask(50, 60, &write_z, AuthOutcome::Unknown("time-out".into()))
        },
        ask(50, 60, &write_z, Denied),
        ask(50, 60, &[need(true, "a", "")], Done),
    ]);
    let checked = check(&records).ok().unwrap();
    let expected = Checked {
        changes: 5,
        permitted: 1,
        denied: 1,
        not_checked: 2,
    };
    assert_eq!(checked, expected);
}

#[test]
fn a_history_keeps_it() {
    let history = crate::history::History {
        auth: with([
            unknown(50, take("r")),
            ask(50, 60, &[need(true, "z", "\0")], Denied),
        ]),
        ..Default::default()
    };
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    let read = crate::history::History::read(&text[..]).unwrap();
    assert_eq!(read, history);
}
