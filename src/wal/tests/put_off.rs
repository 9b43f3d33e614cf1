//! A commit index that waits keeps its place.

use super::*;
use crate::defects::Defects;
use crate::wal::PutOff;

#[test]
fn the_newest_waits_and_stands_before_its_group_once() {
    let mut waiting = PutOff::default();
    assert!(waiting.is_empty());
    waiting.put_off(&commit(1, 3));
    waiting.put_off(&commit(1, 4));
    waiting.put_off(&Batch::default());
    assert!(!waiting.is_empty());
    let group = waiting.with_group(vec![commit(2, 4)], &Defects::default());
    assert_eq!(group, [commit(1, 4), commit(2, 4)]);
    assert!(waiting.is_empty());
    let group = waiting.with_group(Vec::new(), &Defects::default());
    assert_eq!(group, []);
}
