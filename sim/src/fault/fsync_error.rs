//! Failed fsync: a sector that cannot be written back, a thin volume that has run out, a network
//! volume that timed out. The sync is answered with EIO once; the kernel takes the pages for clean
//! and forgets them, so that a later sync succeeds and covers none of them. Some file systems let
//! them be read as they were written, others drop them; the seed may draw which.

use super::{Begun, Injector};
use crate::rng::Stream;
use crate::scenario::Pages;

const KIND: &str = "fsync-error";

pub fn begin(injector: &Injector, members: Vec<u32>, pages: Pages, random: &mut Stream) -> Begun {
    let drops = match pages {
        Pages::Kept => false,
        Pages::Dropped => true,
        Pages::Random => random.chance(0.5),
    };
    for number in &members {
        injector.cluster.tend(*number);
        injector.enter(*number, KIND);
        let disk = injector.disk(*number);
        disk.drop_pages_of_failed_syncs(drops);
        disk.fail_next_sync(1);
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if injector.leave(number, KIND) == 0 {
                    injector.disk(number).fail_next_sync(0);
                }
            }
        }
    };
    Begun {
        members,
        detail: match drops {
            true => "the next sync fails, and its pages are dropped".to_owned(),
            false => "the next sync fails, and its pages pass for clean".to_owned(),
        },
        ending: Some(Box::new(ending)),
    }
}
