//! Which of many operations are to blame: a smallest set that still cannot be explained.

/// The most questions asked.
const QUESTIONS_MAX: usize = 600;

/// Leaves out of `items` what is not needed for `conflict` to hold of the rest, in ever smaller
/// pieces. When the questions suffice, nothing of what remains could be left out alone.
///
/// `conflict` must hold of all of `items`. It may say no when it does not know: then more remains.
pub(super) fn shrink<T: Clone>(items: Vec<T>, mut conflict: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut rest = items;
    let mut questions = 0;
    let mut piece = rest.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        let mut removed = false;
        while at < rest.len() && questions < QUESTIONS_MAX {
            let end = (at + piece).min(rest.len());
            let without = [&rest[..at], &rest[end..]].concat();
            questions += 1;
            if conflict(&without) {
                rest = without;
                removed = true;
            } else {
                at = end;
            }
        }
        if questions >= QUESTIONS_MAX {
            break;
        }
        // With a piece of one, go round until nothing more can be removed.
        piece = match piece {
            1 if removed => 1,
            piece => piece / 2,
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn only_what_is_needed_remains() {
        let needed = [3, 500, 998];
        let found = shrink((0..1000).collect(), |some| {
            needed.iter().all(|n| some.contains(n))
        });
        assert_eq!(found, needed);
        assert!(shrink((0..9).collect(), |_| true).is_empty());
        assert_eq!(shrink((0..3).collect(), |some| some.len() == 3), [0, 1, 2]);
    }
}
