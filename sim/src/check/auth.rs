//! Permissions: nothing succeeds that was not permitted at any moment between its call and its
//! return, and nothing is denied that was permitted throughout.
//!
//! The administrator's changes have call and return times of their own, and some an unknown
//! outcome, so at a given moment a permission may be certain, possible or neither. A request that
//! succeeded needs permissions that were possible at some moment of it; one that was denied must
//! lack one that was certain all along. A change of unknown outcome may take effect at any later
//! time; what it grants stays possible until the role or user it speaks of has certainly gone for
//! good, and what it takes away is never certain again.
//!
//! Not checked: reads from an old state, where old permissions count as well, and requests that
//! were refused for another reason (a token that is no longer good).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::{Counterexample, Verdict, Witness};
use crate::history::display_seconds;
use crate::history::{AuthAction, AuthOutcome, AuthRecord, Keys, Nanoseconds, Need};

const GUARANTEE: &str = "permissions";
const ROOT: &str = "root";

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Changes of users and roles that were done.
    pub changes: usize,
    /// Requests that succeeded, rightly.
    pub permitted: usize,
    /// Requests that were denied, rightly.
    pub denied: usize,
    /// Requests of which nothing is said.
    pub not_checked: usize,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked {
            changes,
            permitted,
            denied,
            not_checked,
        } = self;
        write!(
            f,
            "{permitted} requests permitted and {denied} denied, rightly, under {changes} changes; \
             {not_checked} not checked"
        )
    }
}

/// When something happened: not before the first time, and by the second if at all known.
#[derive(Clone, Copy, Debug)]
struct When {
    from: Nanoseconds,
    by: Option<Nanoseconds>,
}

/// What was set and unset, and when.
#[derive(Default)]
struct Switch {
    set: Vec<When>,
    unset: Vec<When>,
}

/// A user's role (`None`), or a role's permission to write or read keys.
type Fact<'a> = (&'a str, &'a str, Option<(bool, &'a Keys)>);

/// Judges all that was done; the order of the records does not matter.
pub fn check(records: &[AuthRecord]) -> Verdict<Checked> {
    let facts = Facts::of(records);
    let mut checked = Checked::default();
    for record in records {
        let AuthAction::Use { user, needs } = &record.action else {
            checked.changes += usize::from(record.outcome == AuthOutcome::Done);
            continue;
        };
        let Some(returned) = record.returned else {
            checked.not_checked += 1;
            continue;
        };
        let time = (record.invoked, returned);
        match record.outcome {
            AuthOutcome::Done if facts.certainly_on(time.0) => {
                checked.permitted += 1;
                let missing = needs.iter().find(|need| !facts.may(user, need, time));
                if let Some(need) = missing {
                    let summary = format!("{user} succeeded with {need} without permission");
                    return told(summary, record, &facts, records).into();
                }
            }
            AuthOutcome::Denied => {
                checked.denied += 1;
                if needs.iter().all(|need| facts.must(user, need, time)) {
                    let summary = format!("{user} was denied what was permitted throughout");
                    return told(summary, record, &facts, records).into();
                }
            }
            _ => checked.not_checked += 1,
        }
    }
    if checked.not_checked > 0 && checked.permitted + checked.denied == 0 {
        return Verdict::Undetermined(format!(
            "of none of the {} requests is it known what came of it under which permissions",
            checked.not_checked
        ));
    }
    Verdict::Ok(checked)
}

fn told(
    summary: String,
    record: &AuthRecord,
    facts: &Facts<'_>,
    records: &[AuthRecord],
) -> Counterexample {
    const CHANGES_SHOWN: usize = 12;
    let number = records.iter().position(|other| std::ptr::eq(other, record));
    let mut story = Counterexample::new(GUARANTEE, summary).with(Witness {
        id: number.unwrap_or_default() as u64,
        client: record.client.into(),
        member: None,
        invoked: record.invoked,
        returned: record.returned,
        text: record.to_string(),
    });
    story = match record.outcome {
        AuthOutcome::Denied => story.instead("an answer", "permission denied"),
        _ => story.instead("permission denied", "an answer"),
    };
    let AuthAction::Use { user, .. } = &record.action else {
        return story;
    };
    let concerns = |other: &&AuthRecord| {
        let begun = record.returned.is_none_or(|by| other.invoked <= by);
        begun && facts.concern(user, &other.action)
    };
    let changes: Vec<&AuthRecord> = records.iter().filter(concerns).collect();
    for change in &changes[changes.len().saturating_sub(CHANGES_SHOWN)..] {
        story = story.because(change.to_string());
    }
    story
}

struct Facts<'a> {
    switches: BTreeMap<Fact<'a>, Switch>,
    /// The roles each user was ever given, or may have been.
    roles: BTreeMap<&'a str, Vec<&'a str>>,
    /// The permissions each role was ever given, or may have been.
    permissions: BTreeMap<&'a str, Vec<(bool, &'a Keys)>>,
    /// When names of users and roles were made for the first and only time, and gone for good.
    gone: BTreeMap<(bool, &'a str), Nanoseconds>,
    on: Switch,
}

impl<'a> Facts<'a> {
    fn of(records: &'a [AuthRecord]) -> Facts<'a> {
        let mut facts = Facts {
            switches: BTreeMap::new(),
            roles: BTreeMap::new(),
            permissions: BTreeMap::new(),
            gone: BTreeMap::new(),
            on: Switch::default(),
        };
        let happened: Vec<(&AuthAction, When)> = records.iter().filter_map(happened).collect();
        for (action, when) in &happened {
            facts.grants(action, *when);
        }
        for (action, when) in &happened {
            facts.takings(action, *when);
        }
        facts.ends(&happened);
        facts
    }

    fn switch(&mut self, fact: Fact<'a>) -> &mut Switch {
        self.switches.entry(fact).or_default()
    }

    fn grants(&mut self, action: &'a AuthAction, when: When) {
        match action {
            AuthAction::Enable => self.on.set.push(when),
            AuthAction::Disable => self.on.unset.push(when),
            AuthAction::GrantRole { user, role } => {
                self.switch((user, role, None)).set.push(when);
                let roles = self.roles.entry(user).or_default();
                if !roles.contains(&&**role) {
                    roles.push(role);
                }
            }
            AuthAction::Grant {
                role,
                read,
                write,
                keys,
            } => {
                for (is_write, granted) in [(false, *read), (true, *write)] {
                    let permission = (is_write, keys);
                    let switch = self.switch((role, "", Some(permission)));
                    match granted {
                        true => switch.set.push(when),
                        false => switch.unset.push(when),
                    }
                    let known = self.permissions.entry(role).or_default();
                    if granted && !known.contains(&permission) {
                        known.push(permission);
                    }
                }
            }
            _ => {}
        }
    }

    fn takings(&mut self, action: &'a AuthAction, when: When) {
        let concerned: Vec<Fact<'a>> = self
            .switches
            .keys()
            .filter(|fact| takes(action, fact))
            .copied()
            .collect();
        for fact in concerned {
            self.switch(fact).unset.push(when);
        }
    }

    /// A name that was made once, for certain, and removed, for certain, never means anything
    /// again: not even a grant of unknown outcome can bring it back.
    fn ends(&mut self, happened: &[(&'a AuthAction, When)]) {
        let mut made: BTreeMap<(bool, &str), Vec<When>> = BTreeMap::new();
        for (action, when) in happened {
            match action {
                AuthAction::AddRole { role } => made.entry((false, role)).or_default().push(*when),
                AuthAction::AddUser { user } => made.entry((true, user)).or_default().push(*when),
                _ => {}
            }
        }
        for (action, when) in happened {
            let name: (bool, &'a str) = match action {
                AuthAction::DeleteRole { role } => (false, role),
                AuthAction::DeleteUser { user } => (true, user),
                _ => continue,
            };
            let once = made.get(&name).map(Vec::as_slice);
            if let (Some([When { by: Some(made), .. }]), Some(by)) = (once, when.by)
                && *made <= when.from
            {
                let gone = self.gone.entry(name).or_insert(by);
                *gone = by.min(*gone);
            }
        }
    }

    fn certainly_on(&self, at: Nanoseconds) -> bool {
        self.on.certain((at, at)) && self.on.unset.is_empty()
    }

    /// Whether the need may have been met at some moment.
    fn may<'b>(&'b self, user: &'b str, need: &Need, time: (Nanoseconds, Nanoseconds)) -> bool {
        let is_gone = |is_user, name: &'b str| {
            let gone = self.gone.get(&(is_user, name));
            gone.is_some_and(|gone| *gone < time.0)
        };
        self.is_met(user, need, |fact: Fact<'b>| {
            let still_there = match fact {
                (user, role, None) => !is_gone(true, user) && !is_gone(false, role),
                (role, _, Some(_)) => !is_gone(false, role),
            };
            let switch = self.switches.get(&fact);
            still_there && switch.is_some_and(|switch| switch.possible(time))
        })
    }

    /// Whether the need was certainly met throughout.
    fn must<'b>(&'b self, user: &'b str, need: &Need, time: (Nanoseconds, Nanoseconds)) -> bool {
        let certain = |fact: Fact<'b>| self.switches.get(&fact).is_some_and(|s| s.certain(time));
        self.is_met(user, need, certain)
    }

    fn is_met<'b>(&'b self, user: &'b str, need: &Need, holds: impl Fn(Fact<'b>) -> bool) -> bool {
        if user == ROOT {
            return true;
        }
        let mut ranges: Vec<&Keys> = Vec::new();
        for role in self.roles.get(user).into_iter().flatten() {
            if *role == ROOT && holds((user, role, None)) {
                return true;
            }
            if !holds((user, role, None)) {
                continue;
            }
            let permissions = self.permissions.get(role).into_iter().flatten();
            let held = permissions.filter(|permission| {
                permission.0 == need.write && holds((role, "", Some(**permission)))
            });
            ranges.extend(held.map(|(_, keys)| *keys));
        }
        cover(ranges, &need.keys)
    }

    /// Whether a change has to do with what `user` may do.
    fn concern(&self, user: &str, action: &AuthAction) -> bool {
        let role_of_user = |role: &String| {
            let roles = self.roles.get(user);
            roles.is_some_and(|roles| roles.contains(&&**role))
        };
        match action {
            AuthAction::Enable | AuthAction::Disable => true,
            AuthAction::AddUser { user: other }
            | AuthAction::DeleteUser { user: other }
            | AuthAction::ChangePassword { user: other }
            | AuthAction::GrantRole { user: other, .. }
            | AuthAction::RevokeRole { user: other, .. } => other == user,
            AuthAction::AddRole { role }
            | AuthAction::DeleteRole { role }
            | AuthAction::Grant { role, .. }
            | AuthAction::Revoke { role, .. } => role_of_user(role),
            AuthAction::Use { .. } => false,
        }
    }
}

/// What has or may have taken effect, and when.
fn happened(record: &AuthRecord) -> Option<(&AuthAction, When)> {
    let by = match record.outcome {
        AuthOutcome::Done => record.returned,
        AuthOutcome::Unknown(_) => None,
        AuthOutcome::Denied | AuthOutcome::Refused(_) => return None,
    };
    let from = record.invoked;
    Some((&record.action, When { from, by }))
}

fn takes(action: &AuthAction, fact: &Fact<'_>) -> bool {
    match (action, fact) {
        (AuthAction::DeleteUser { user }, (of, _, None)) => user == of,
        (AuthAction::RevokeRole { user, role }, (of, held, None)) => user == of && role == held,
        (AuthAction::DeleteRole { role }, (_, held, None)) => role == held,
        (AuthAction::DeleteRole { role }, (of, _, Some(_))) => role == of,
        (AuthAction::Revoke { role, keys }, (of, _, Some((_, held)))) => {
            role == of && keys == *held
        }
        _ => false,
    }
}

impl Switch {
    /// Whether it may have been set at some moment of `time`.
    fn possible(&self, (from, to): (Nanoseconds, Nanoseconds)) -> bool {
        let undone = |set: &When| {
            let after = |unset: &When| {
                let begun_after = set.by.is_some_and(|by| by < unset.from);
                begun_after && unset.by.is_some_and(|by| by < from)
            };
            self.unset.iter().any(after)
        };
        self.set.iter().any(|set| set.from <= to && !undone(set))
    }

    /// Whether it was certainly set throughout `time`.
    fn certain(&self, (from, to): (Nanoseconds, Nanoseconds)) -> bool {
        let firm = |set: &When| {
            let undoes =
                |unset: &When| unset.from <= to && unset.by.is_none_or(|by| by >= set.from);
            set.by.is_some_and(|by| by <= from) && !self.unset.iter().any(undoes)
        };
        self.set.iter().any(firm)
    }
}

/// The first key and the end of what `keys` stands for; no end is `None`.
fn bounds(keys: &Keys) -> (Bytes, Option<Bytes>) {
    let end = match &keys.end[..] {
        b"" => Some(Bytes::from([&keys.key[..], b"\0"].concat())),
        b"\0" => None,
        _ => Some(keys.end.clone()),
    };
    (keys.key.clone(), end)
}

/// Whether the ranges together hold every key of `wanted`.
fn cover(mut ranges: Vec<&Keys>, wanted: &Keys) -> bool {
    ranges.sort();
    let (mut reached, end) = bounds(wanted);
    for range in ranges {
        if end.as_ref().is_some_and(|end| *end <= reached) {
            return true;
        }
        let (from, to) = bounds(range);
        if from <= reached {
            match to {
                None => return true,
                Some(to) => reached = reached.max(to),
            }
        }
    }
    end.is_some_and(|end| end <= reached)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.write { "writing" } else { "reading" };
        write!(f, "{verb} {}", self.keys)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end[..] {
            b"" => write!(f, "{}", self.key.escape_ascii()),
            b"\0" => write!(f, "[{}, …)", self.key.escape_ascii()),
            end => write!(f, "[{}, {})", self.key.escape_ascii(), end.escape_ascii()),
        }
    }
}

impl fmt::Display for AuthRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} .. ", display_seconds(self.invoked))?;
        match self.returned {
            Some(returned) => write!(f, "{}", display_seconds(returned))?,
            None => f.write_str("?")?,
        }
        write!(f, " client {}: ", self.client)?;
        match &self.action {
            AuthAction::Enable => f.write_str("enable authentication")?,
            AuthAction::Disable => f.write_str("disable authentication")?,
            AuthAction::AddUser { user } => write!(f, "add user {user}")?,
            AuthAction::DeleteUser { user } => write!(f, "delete user {user}")?,
            AuthAction::ChangePassword { user } => write!(f, "change the password of {user}")?,
            AuthAction::AddRole { role } => write!(f, "add role {role}")?,
            AuthAction::DeleteRole { role } => write!(f, "delete role {role}")?,
            AuthAction::GrantRole { user, role } => write!(f, "grant {user} role {role}")?,
            AuthAction::RevokeRole { user, role } => write!(f, "revoke role {role} from {user}")?,
            AuthAction::Grant {
                role,
                read,
                write,
                keys,
            } => {
                let what = match (read, write) {
                    (true, true) => "reading and writing",
                    (true, false) => "reading",
                    (false, true) => "writing",
                    (false, false) => "nothing",
                };
                write!(f, "permit role {role} {what} {keys}")?;
            }
            AuthAction::Revoke { role, keys } => write!(f, "revoke {keys} from role {role}")?,
            AuthAction::Use { user, needs } => {
                write!(f, "{user} asks for")?;
                for (number, need) in needs.iter().enumerate() {
                    let comma = if number > 0 { "," } else { "" };
                    write!(f, "{comma} {need}")?;
                }
            }
        }
        match &self.outcome {
            AuthOutcome::Done => f.write_str(": done"),
            AuthOutcome::Denied => f.write_str(": denied"),
            AuthOutcome::Refused(why) => write!(f, ": refused, {why}"),
            AuthOutcome::Unknown(why) => write!(f, ": unknown, {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
