//! The checks before a request is proposed.

use super::check::*;
use super::*;

fn check(success: Vec<RequestOp>) -> Result<(), Error> {
    check_txn(&then(success), DEFAULT_MAX_TXN_OPS)
}

#[test]
fn single_requests() {
    assert_eq!(check_range(&range("", "a")), Err(Error::EmptyKey));
    assert_eq!(check_put(&put("", "a")), Err(Error::EmptyKey));
    assert_eq!(check_delete_range(&delete("", "")), Err(Error::EmptyKey));
    assert_eq!(check_range(&range("a", "\0")), Ok(()));
    let unknown = RangeRequest {
        sort_target: 5,
        ..range("a", "")
    };
    assert_eq!(check_range(&unknown), Err(Error::InvalidSortOption));
    let mut request = PutRequest {
        ignore_value: true,
        ignore_lease: true,
        ..put("a", "")
    };
    assert_eq!(check_put(&request), Ok(()));
    request.lease = 1;
    assert_eq!(check_put(&request), Err(Error::LeaseProvided));
    request.value = bytes("x");
    assert_eq!(check_put(&request), Err(Error::ValueProvided));
}

#[test]
fn the_number_of_operations() {
    let reads = |count| vec![op(range("a", "")); count];
    assert_eq!(check(reads(128)), Ok(()));
    assert_eq!(check(reads(129)), Err(Error::TooManyOperations));
    let compares = txn(
        vec![
            Compare {
                key: bytes("a"),
                ..Default::default()
            };
            129
        ],
        vec![],
        vec![],
    );
    assert_eq!(check_txn(&compares, 128), Err(Error::TooManyOperations));
    // A nested transaction gets what is left: 128 - 64.
    let nested = |count| {
        let mut operations = reads(63);
        operations.push(op(then(reads(count))));
        check(operations)
    };
    assert_eq!(nested(64), Ok(()));
    assert_eq!(nested(65), Err(Error::TooManyOperations));
}

#[test]
fn errors_inside_a_transaction() {
    let both = |operation: RequestOp| {
        let inner = then(vec![operation.clone()]);
        assert_eq!(
            check(vec![operation]),
            check_txn(&txn(vec![], vec![], vec![op(inner.clone())]), 128)
        );
        check(vec![op(inner)])
    };
    assert_eq!(both(op(put("", ""))), Err(Error::EmptyKey));
    assert_eq!(both(RequestOp { request: None }), Err(Error::KeyNotFound));
    assert_eq!(
        both(op(txn(vec![Compare::default()], vec![], vec![]))),
        Err(Error::EmptyKey)
    );
}

#[test]
fn duplicate_keys() {
    let refused = Err(Error::DuplicateKey);
    let (a, b) = (|| op(put("a", "")), || op(put("b", "")));
    assert_eq!(check(vec![a(), b()]), Ok(()));
    assert_eq!(check(vec![a(), a()]), refused);
    assert_eq!(check(vec![op(delete("a", "c")), b()]), refused);
    assert_eq!(check(vec![b(), op(delete("a", "c"))]), refused);
    assert_eq!(check(vec![op(delete("b", "")), b()]), refused);
    assert_eq!(check(vec![op(delete("a", "b")), b()]), Ok(()));
    assert_eq!(
        check(vec![op(delete("a", "")), op(delete("a", "z"))]),
        Ok(())
    );
    // An empty range deletes nothing.
    assert_eq!(check(vec![a(), op(delete("z", "a"))]), Ok(()));
    // One path is taken, not both.
    assert_eq!(check_txn(&txn(vec![], vec![a()], vec![a()]), 128), Ok(()));
    assert_eq!(
        check_txn(&txn(vec![], vec![], vec![a(), a()]), 128),
        refused
    );
}

#[test]
fn duplicate_keys_across_levels() {
    let refused = Err(Error::DuplicateKey);
    let a = || op(put("a", ""));
    let nest = |success, failure| op(txn(vec![], success, failure));
    let drop_a = || op(delete("a", ""));
    assert_eq!(check(vec![nest(vec![a()], vec![a()])]), Ok(()));
    assert_eq!(check(vec![nest(vec![a()], vec![drop_a()])]), Ok(()));
    assert_eq!(check(vec![a(), nest(vec![a()], vec![])]), refused);
    assert_eq!(check(vec![a(), nest(vec![], vec![a()])]), refused);
    assert_eq!(check(vec![a(), nest(vec![], vec![drop_a()])]), refused);
    assert_eq!(check(vec![drop_a(), nest(vec![], vec![a()])]), refused);
    assert_eq!(
        check(vec![nest(vec![a()], vec![]), nest(vec![], vec![a()])]),
        refused
    );
    assert_eq!(
        check(vec![nest(vec![nest(vec![a()], vec![])], vec![]), a()]),
        refused
    );
}

#[test]
fn where_etcd_is_lenient_so_are_we() {
    // All tried on etcd 3.5.1.
    let b = || op(put("b", ""));
    let open = || op(delete("a", "\0"));
    assert_eq!(check(vec![b(), open()]), Ok(()));
    assert_eq!(check(vec![open(), b()]), Ok(()));
    let nest = |operation| op(then(vec![operation]));
    assert_eq!(check(vec![nest(b()), nest(op(delete("b", "")))]), Ok(()));
    assert_eq!(
        check(vec![nest(op(delete("b", ""))), nest(b())]),
        Err(Error::DuplicateKey)
    );
}
