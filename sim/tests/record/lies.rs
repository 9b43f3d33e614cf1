//! Lies about watches and elections, each put into a good history.

use vetcd_sim::history::{History, LeaseOperation, LeaseOutcome, LeaseRequest, News, Watch};

/// Something a server must not say.
pub struct Lie {
    pub name: &'static str,
    /// Tells it in a good history.
    pub tell: fn(&mut History),
    /// Who finds it.
    pub judge: &'static str,
}

/// One for each thing that watches and elections promise.
pub const LIES: [Lie; 5] = [
    Lie {
        name: "event-left-out",
        tell: |history| {
            let responses = many_events(history);
            let middle = responses[responses.len() / 2];
            let (watch, response) = middle;
            history.watches[watch].responses.remove(response);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "event-twice",
        tell: |history| {
            let (watch, response) = many_events(history)[0];
            let responses = &mut history.watches[watch].responses;
            let again = responses[response].clone();
            responses.insert(response + 1, again);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "watch-left-behind",
        tell: |history| {
            let stays = |watch: &&mut Watch| {
                let shown = watch.responses.iter().any(|r| is_news(&r.news));
                shown && !watch.is_over() && watch.range_end == "\0"
            };
            let watch = history.watches.iter_mut().find(stays).unwrap();
            watch.responses.truncate(1);
        },
        judge: "✗ watch",
    },
    Lie {
        name: "two-leaders",
        tell: |history| {
            // A candidate is told of his election as soon as his predecessor is.
            let (first, second) = two_leaders(&history.leases.operations);
            let at = history.leases.operations[first].returned.unwrap();
            let operation = &mut history.leases.operations[second];
            operation.invoked = at;
            operation.returned = Some(at + 1);
        },
        judge: "✗ elections",
    },
    Lie {
        name: "observer-goes-back",
        tell: |history| {
            let told = history
                .leases
                .observations
                .iter_mut()
                .map(|observation| &mut observation.told)
                .find(|told| told.len() > 1)
                .unwrap();
            let (first, second) = (told[0].1.clone(), told[1].1.clone());
            (told[0].1, told[1].1) = (second, first);
        },
        judge: "✗ elections",
    },
];

/// Where watches of everything, with events to spare on either side, were shown something: the
/// watch and the response.
fn many_events(history: &History) -> Vec<(usize, usize)> {
    let of_everything = history.watches.iter().position(|watch| {
        let shown = watch.responses.iter().filter(|r| is_news(&r.news)).count();
        watch.range_end == "\0" && !watch.no_put && !watch.no_delete && shown > 10
    });
    let watch = of_everything.unwrap();
    let responses = history.watches[watch].responses.iter().enumerate();
    responses
        .filter(|(_, response)| is_news(&response.news))
        .map(|(at, _)| (watch, at))
        .collect()
}

/// The elections, one after the other, of two leaders of one office; the first with time to lead.
fn two_leaders(operations: &[LeaseOperation]) -> (usize, usize) {
    let fresh = |lease: i64, at: u64| {
        operations.iter().any(|operation| {
            matches!(operation.request, LeaseRequest::Grant { id, .. } if id == lease)
                && operation.invoked + 1_000_000_000 > at
        })
    };
    let elected = operations
        .iter()
        .enumerate()
        .filter_map(|(position, operation)| {
            let (LeaseRequest::Campaign { name, lease, .. }, Some(at)) =
                (&operation.request, operation.returned)
            else {
                return None;
            };
            matches!(operation.outcome, LeaseOutcome::Ok(_)).then_some((at, name, *lease, position))
        });
    let mut elected: Vec<_> = elected.collect();
    elected.sort_unstable();
    for (number, (at, name, lease, first)) in elected.iter().enumerate() {
        let mut later = elected[number + 1..].iter();
        if let Some((_, _, _, second)) = later.find(|other| other.1 == *name)
            && fresh(*lease, *at)
        {
            return (*first, *second);
        }
    }
    panic!("nobody followed anybody");
}

fn is_news(news: &News) -> bool {
    matches!(news, News::Events { more: false, .. })
}
