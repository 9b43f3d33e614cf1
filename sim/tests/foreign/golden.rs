//! What a person reads about each wrong history. `VETCD_GOLDEN=write` writes the files anew.

use super::{fixtures, judge, story};

#[test]
fn counterexamples_are_told_as_written_down() {
    for name in [
        "register.bad.log",
        "registers.bad.edn",
        "lists.bad.edn",
        "kv.bad.edn",
        "report.bad",
    ] {
        let found = story(&judge(name));
        let path = fixtures().join(format!("{name}.story.txt"));
        if std::env::var("VETCD_GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}
