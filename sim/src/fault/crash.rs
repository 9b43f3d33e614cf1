//! Crash: a process dies at once (a bug, the kernel's out-of-memory killer, `kill -9`). What it
//! wrote survives in the page cache, synced or not; the kernel closes its connections.

use super::{Begun, Injector, already};

pub fn begin(injector: &Injector, members: Vec<u32>) -> Begun {
    let (down, skipped): (Vec<u32>, Vec<u32>) = members
        .into_iter()
        .partition(|number| injector.cluster.crash(*number));
    restart_later(injector, down, already(&skipped, "down already"))
}

/// The ending of both crash and power loss: the process starts again.
pub fn restart_later(injector: &Injector, down: Vec<u32>, detail: String) -> Begun {
    let ending = {
        let (injector, down) = (injector.clone(), down.clone());
        move || {
            for number in down {
                injector.cluster.start(number);
            }
        }
    };
    Begun {
        members: down,
        detail,
        ending: Some(Box::new(ending)),
    }
}
