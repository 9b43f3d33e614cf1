//! Pause: a process stands still while its kernel lives (SIGSTOP, a long garbage collection next
//! door, a virtual machine being moved). Its clock runs on, and it does not know.

use super::{Begun, Injector, already};

pub fn begin(injector: &Injector, members: Vec<u32>) -> Begun {
    let (paused, skipped): (Vec<u32>, Vec<u32>) = members
        .into_iter()
        .partition(|number| injector.cluster.pause(*number));
    let ending = {
        let (injector, paused) = (injector.clone(), paused.clone());
        move || {
            for number in paused {
                injector.cluster.resume(number);
            }
        }
    };
    Begun {
        members: paused,
        detail: already(&skipped, "down already"),
        ending: Some(Box::new(ending)),
    }
}
