//! Power loss: machines go dark at one instant. Un-synced bytes and names survive in part, by the
//! disk's fault model; peers hear nothing and keep half-open connections.

use super::{Begun, Injector, PowerCut, crash};
use crate::scenario::Unsynced;
use crate::world;

pub fn begin(
    injector: &Injector,
    members: Vec<u32>,
    unsynced: Unsynced,
    torn_sector: u32,
) -> Begun {
    let policy = world::PowerLoss {
        unsynced: match unsynced {
            Unsynced::LoseAll => world::Unsynced::LoseAll,
            Unsynced::Random => world::Unsynced::Random,
            Unsynced::KeepAll => world::Unsynced::KeepAll,
        },
        torn: torn_sector > 0,
    };
    let at_ns = injector.cluster.world().now_ns();
    let mut lost_bytes = 0;
    let mut lost_files = 0;
    for number in &members {
        for loss in injector.cluster.power_loss(*number, policy).unwrap_or_default() {
            lost_files += 1;
            lost_bytes += loss.lost;
        }
    }
    injector.lock().power_cuts.push(PowerCut {
        at_ns,
        members: members.clone(),
        lost_bytes,
    });
    let detail = match lost_files {
        0 => "nothing un-synced".to_owned(),
        _ => format!("{lost_bytes} un-synced bytes lost in {lost_files} files"),
    };
    crash::restart_later(injector, members, detail)
}
