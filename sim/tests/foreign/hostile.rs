//! Readers against anything: no input makes them panic, and what is wrong is said with its place.

use proptest::prelude::*;
use vetcd_sim::history::read::{Format, Input, Model, read};

use super::{file, load};

const FORMATS: [Format; 4] = [
    Format::Vetcd,
    Format::Robustness,
    Format::Edn,
    Format::JepsenLog,
];
const MODELS: [Option<Model>; 5] = [
    None,
    Some(Model::Register),
    Some(Model::Kv),
    Some(Model::Etcd),
    Some(Model::ListAppend),
];

fn feed(bytes: &[u8]) {
    for format in FORMATS {
        let input = Input {
            is_directory: format == Format::Robustness,
            files: vec![("client-1/operations.json".to_owned(), bytes.to_vec())],
        };
        for model in MODELS {
            // Whatever it says.
            let _ = read(&input, Some(format), model);
        }
    }
    let _ = read(&file(bytes), None, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        feed(&bytes);
    }

    #[test]
    fn almost_right(
        which in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let names = ["register.good.log", "registers.good.edn", "lists.good.edn", "kv.good.edn"];
        let mut bytes = match names.get(which) {
            Some(name) => load(name).files.remove(0).1,
            None => load("report.good").files.remove(0).1,
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        feed(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        feed(&bytes);
    }

    #[test]
    fn words_in_any_order(words in prop::collection::vec(0..28_usize, 0..60)) {
        let dictionary = [
            "{", "}", "[", "]", "(", ")", "#{", "#_", "#tag ", "\"", "\\", ":type", ":invoke",
            ":ok", ":f", ":read", ":txn", ":value", ":process", "0", "-1", "nil", ":append", ":r",
            "\n", ";", "INFO jepsen.util - 1", "\u{e4}",
        ];
        let text: String = words.iter().flat_map(|word| [dictionary[*word], " "]).collect();
        feed(text.as_bytes());
    }
}

fn refused(bytes: &[u8], format: Format, model: Option<Model>) -> String {
    let input = Input {
        is_directory: format == Format::Robustness,
        files: vec![("client-1/operations.json".to_owned(), bytes.to_vec())],
    };
    read(&input, Some(format), model).unwrap_err().to_string()
}

#[test]
fn errors_name_line_and_column() {
    let invoke = "{:type :invoke, :f :write, :value 1, :process 0}\n";
    for (text, format, expected) in [
        (
            invoke.repeat(2),
            Format::Edn,
            "line 2, column 1: process 0 has an operation under way",
        ),
        (
            format!("{invoke}  {{:type :ok"),
            Format::Edn,
            "line 2, column 3: this never ends",
        ),
        (
            "3\n".to_owned(),
            Format::Edn,
            "line 1, column 1: 3 is not the map of an event",
        ),
        (
            format!("{invoke}{{:type :ok, :f :cas, :value 1, :process 0}}"),
            Format::Edn,
            "line 2, column 1: no register does :cas 1",
        ),
        (
            "INFO jepsen.util - 0 :invoke :cas [1".to_owned(),
            Format::JepsenLog,
            "line 1, column 35: \"[1\" is no value",
        ),
        (
            "\nINFO jepsen.util - 0 :ok :read 1".to_owned(),
            Format::JepsenLog,
            "line 2, column 32: process 0 has nothing under way",
        ),
        (
            "INFO jepsen.util - 0 :invoke :cas".to_owned(),
            Format::JepsenLog,
            "line 1, column 34: nil is not the two values of a :cas",
        ),
        (
            "{\"ClientId\": 1,\n \"Input\": 7}".to_owned(),
            Format::Robustness,
            "client-1/operations.json: line 2, column 11: invalid type",
        ),
        (
            "{\"Input\":{\"Type\":\"fly\"},\"Call\":1,\"Return\":2}".to_owned(),
            Format::Robustness,
            "client-1/operations.json: line 1, column 1: the object after this: a request of \
             unknown type \"fly\"",
        ),
    ] {
        let found = refused(text.as_bytes(), format, None);
        assert!(
            found.starts_with(expected),
            "{text:?}\n  found    {found}\n  expected {expected}"
        );
    }
    let found = refused(b"{:a 1}\n\xff", Format::Edn, None);
    assert!(
        found.starts_with("line 2, column 1: this is no text"),
        "{found}"
    );
}
