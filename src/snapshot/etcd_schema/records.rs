//! Everything in a database but keys and values, as plain data.

use std::collections::BTreeMap;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::{bucket, entry};
use crate::api::proto::etcdserverpb::AlarmMember;
use crate::api::proto::vetcdpb::{ClusterMember, ConfState};

/// The entries of one small bucket.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A lease as etcd keeps it (`leasepb.Lease`).
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseRecord {
    /// Its ID, above 0.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// The time to live that was granted, seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// What was left of it at the last checkpoint, seconds; 0: no checkpoint, all of it.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

/// Authentication: its switch and revision, and users and roles in etcd's own encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthRecords {
    /// Whether requests need a user.
    pub enabled: bool,
    /// The revision of the last change to users, roles or the switch; 0 for none.
    pub revision: u64,
    /// Each user's `authpb.User`, by name.
    pub users: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Each role's `authpb.Role`, by name.
    pub roles: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything in a database but keys and values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// The leases, by ID.
    pub leases: Vec<LeaseRecord>,
    /// Users and roles.
    pub auth: AuthRecords,
    /// The alarms that are raised.
    pub alarms: Vec<AlarmMember>,
    /// The members, by ID.
    pub members: Vec<ClusterMember>,
    /// The IDs of removed members, ascending.
    pub removed_members: Vec<u64>,
    /// The cluster's version. An etcd older than it refuses to start from the database.
    pub cluster_version: Option<String>,
    /// etcd's note of a downgrade, as JSON.
    pub downgrade: Option<Vec<u8>>,
    /// The raft index of the last entry that is in the database.
    pub consistent_index: u64,
    /// That entry's term.
    pub term: u64,
    /// Raft's membership at that entry.
    pub conf_state: Option<ConfState>,
    /// The version of the schema; 3.6 began to note it.
    pub storage_version: Option<String>,
}

/// A member as etcd spells it.
#[derive(Serialize, Deserialize)]
struct MemberJson {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(
        rename = "isLearner",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(
        rename = "clientURLs",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    client_urls: Option<Vec<String>>,
}

/// Raft's membership as etcd spells it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfStateJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters_outgoing: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners_next: Vec<u64>,
    auto_leave: bool,
}

impl Records {
    /// The buckets of these records. `meta` lacks the compactions, which are the state's.
    pub(super) fn buckets(&self) -> BTreeMap<&'static str, Entries> {
        let alarms = self.alarms.iter();
        let alarms = alarms.map(|alarm| (alarm.encode_to_vec(), Vec::new()));
        let leases = self.leases.iter();
        let leases = leases.map(|lease| (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec()));
        let removed = self.removed_members.iter();
        let removed = removed.map(|id| (member_name(*id), b"removed".to_vec()));
        let members = self.members.iter();
        let members = members.map(|member| (member_name(member.id), member_json(member)));
        BTreeMap::from([
            (bucket::ALARM, alarms.collect()),
            (bucket::AUTH, self.auth_entries()),
            (bucket::AUTH_ROLES, self.auth.roles.clone()),
            (bucket::AUTH_USERS, self.auth.users.clone()),
            (bucket::CLUSTER, self.cluster_entries()),
            (bucket::LEASE, leases.collect()),
            (bucket::MEMBERS, members.collect()),
            (bucket::MEMBERS_REMOVED, removed.collect()),
            (bucket::META, self.meta_entries()),
        ])
    }

    fn auth_entries(&self) -> Entries {
        Entries::from([
            (
                entry::AUTH_ENABLED.to_vec(),
                vec![u8::from(self.auth.enabled)],
            ),
            (
                entry::AUTH_REVISION.to_vec(),
                self.auth.revision.to_be_bytes().to_vec(),
            ),
        ])
    }

    fn cluster_entries(&self) -> Entries {
        let mut entries = Entries::new();
        if let Some(version) = &self.cluster_version {
            entries.insert(
                entry::CLUSTER_VERSION.to_vec(),
                version.clone().into_bytes(),
            );
        }
        if let Some(downgrade) = &self.downgrade {
            entries.insert(entry::DOWNGRADE.to_vec(), downgrade.clone());
        }
        entries
    }

    fn meta_entries(&self) -> Entries {
        let mut entries = Entries::from([
            (
                entry::CONSISTENT_INDEX.to_vec(),
                self.consistent_index.to_be_bytes().to_vec(),
            ),
            (entry::TERM.to_vec(), self.term.to_be_bytes().to_vec()),
        ]);
        if let Some(conf_state) = &self.conf_state {
            entries.insert(entry::CONF_STATE.to_vec(), conf_state_json(conf_state));
        }
        if let Some(version) = &self.storage_version {
            entries.insert(
                entry::STORAGE_VERSION.to_vec(),
                version.clone().into_bytes(),
            );
        }
        entries
    }

    /// Takes an entry of any bucket but `key`; what is unknown in a known bucket is passed over.
    /// Says what is wrong with an entry that cannot be read.
    pub(super) fn take(&mut self, bucket: &str, name: &[u8], value: &[u8]) -> Result<(), String> {
        match bucket {
            bucket::ALARM => self.alarms.push(AlarmMember::decode(name).map_err(text)?),
            bucket::AUTH_ROLES => drop(self.auth.roles.insert(name.to_vec(), value.to_vec())),
            bucket::AUTH_USERS => drop(self.auth.users.insert(name.to_vec(), value.to_vec())),
            bucket::LEASE => {
                let lease = LeaseRecord::decode(value).map_err(text)?;
                if lease.id.to_be_bytes() != name {
                    return Err("the lease has another ID than its name".to_owned());
                }
                self.leases.push(lease);
            }
            bucket::MEMBERS => self.members.push(member(name, value)?),
            bucket::MEMBERS_REMOVED => self.removed_members.push(member_id(name)?),
            bucket::AUTH => match name {
                entry::AUTH_ENABLED => self.auth.enabled = value == [1],
                entry::AUTH_REVISION => self.auth.revision = number(value)?,
                _ => {}
            },
            bucket::CLUSTER => match name {
                entry::CLUSTER_VERSION => self.cluster_version = Some(utf8(value)?),
                entry::DOWNGRADE => self.downgrade = Some(value.to_vec()),
                _ => {}
            },
            bucket::META => match name {
                entry::CONSISTENT_INDEX => self.consistent_index = number(value)?,
                entry::TERM => self.term = number(value)?,
                entry::CONF_STATE => self.conf_state = Some(conf_state(value)?),
                entry::STORAGE_VERSION => self.storage_version = Some(utf8(value)?),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn number(value: &[u8]) -> Result<u64, String> {
    let bytes = value.try_into().map_err(|_| "a number has 8 bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

fn utf8(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(text)
}

fn member_name(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}

fn member_id(name: &[u8]) -> Result<u64, String> {
    let digits = std::str::from_utf8(name).map_err(text)?;
    u64::from_str_radix(digits, 16).map_err(|_| format!("\"{digits}\" is no member's ID"))
}

fn member_json(member: &ClusterMember) -> Vec<u8> {
    let json = MemberJson {
        id: member.id,
        peer_urls: Some(member.peer_urls.clone()),
        is_learner: member.is_learner,
        name: member.name.clone(),
        client_urls: Some(member.client_urls.clone()).filter(|urls| !urls.is_empty()),
    };
    serde_json::to_vec(&json).expect("numbers and text have a JSON form")
}

fn member(name: &[u8], value: &[u8]) -> Result<ClusterMember, String> {
    let json: MemberJson = serde_json::from_slice(value).map_err(text)?;
    if json.id != member_id(name)? {
        return Err("the member has another ID than its name".to_owned());
    }
    Ok(ClusterMember {
        id: json.id,
        name: json.name,
        peer_urls: json.peer_urls.unwrap_or_default(),
        client_urls: json.client_urls.unwrap_or_default(),
        is_learner: json.is_learner,
    })
}

fn conf_state_json(state: &ConfState) -> Vec<u8> {
    let json = ConfStateJson {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    };
    serde_json::to_vec(&json).expect("numbers have a JSON form")
}

fn conf_state(value: &[u8]) -> Result<ConfState, String> {
    let json: ConfStateJson = serde_json::from_slice(value).map_err(text)?;
    Ok(ConfState {
        voters: json.voters,
        learners: json.learners,
        voters_outgoing: json.voters_outgoing,
        learners_next: json.learners_next,
        auto_leave: json.auto_leave,
    })
}
