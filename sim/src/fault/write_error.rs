//! Failed write: a bus reset, a volume that was remounted read-only for a moment, a quota of the
//! network file system. The next write is answered with EIO, once, and writes nothing.

use super::{Begun, Injector};

const KIND: &str = "write-error";

pub fn begin(injector: &Injector, members: Vec<u32>) -> Begun {
    for number in &members {
        injector.cluster.tend(*number);
        injector.enter(*number, KIND);
        injector.disk(*number).fail_next_write(1);
    }
    let ending = {
        let (injector, members) = (injector.clone(), members.clone());
        move || {
            for number in members {
                if injector.leave(number, KIND) == 0 {
                    injector.disk(number).fail_next_write(0);
                }
            }
        }
    };
    Begun {
        members,
        detail: "the next write fails".to_owned(),
        ending: Some(Box::new(ending)),
    }
}
