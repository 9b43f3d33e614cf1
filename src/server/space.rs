//! A full disk: the member that finds it raises the alarm for all, and goes on without growing.
//!
//! The log writes from what it has reserved, a commit of the store waits, and this member refuses
//! what would make either grow from that moment on; once the alarm is applied, so does every member.
//! Reads, elections, leases and removals go on. When there is space again the log and the store take
//! it by themselves; the alarm stays until it is disarmed, as etcd's does, and comes back when it is
//! disarmed too early.

use std::sync::Arc;
use std::time::Duration;

use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::alarm_request::AlarmAction;

use super::Server;

/// How often a member whose disk is full looks whether its alarm is on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Server {
    /// Whether nothing that grows is taken: this member's disk is full, or some member's is or its
    /// quota used up, and the alarm is on.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.space.is_short() || self.serializable().alarms.is_on(pb::AlarmType::Nospace)
    }

    /// Raises this member's alarm that there is no space, unless it is on.
    pub(super) async fn raise_no_space(&self) {
        let alarm = pb::AlarmMember {
            member_id: self.identity.member_id,
            alarm: pb::AlarmType::Nospace as i32,
        };
        if self.serializable().alarms.to_wire().contains(&alarm) {
            return;
        }
        let request = pb::AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        };
        if let Err(error) = self.alarm(request).await {
            tracing::warn!(%error, "cannot raise the alarm that there is no space");
        }
    }
}

/// Keeps the alarm on while the disk is full, as long as the member lives.
pub(super) async fn keep_alarm(server: Arc<Server>) {
    let Some(mut short) = server.space.listen() else {
        return;
    };
    while short.recv().await.is_some() {
        loop {
            server.raise_no_space().await;
            server.host.sleep(LOOK_EVERY).await;
            if !server.space.is_short() {
                break;
            }
        }
    }
}
