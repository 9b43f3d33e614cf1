//! Which operation stands behind each filling of a gap: every filling wants one operation out of
//! some classes, invoked by some deadline, and no operation serves twice.
//!
//! This is a bipartite matching that grows and shrinks with the search. A new filling that finds
//! all its operations taken has others move on, along a shortest chain of moves; so the search never
//! fails because an earlier gap took an operation that a later one needs and that it could do
//! without. When no chain helps, the fillings that were asked to move are the whole reason.

use std::collections::BTreeMap;

use super::gaps::Gaps;
use super::plan::Index;

/// A class, and the position of a member in it.
type Seat = (usize, usize);

/// What one filling wants, and what it has.
struct Place {
    revision: i64,
    classes: Vec<usize>,
    deadline: u64,
    seat: Seat,
}

/// The operations of all fillings.
pub(super) struct Assignment<'p> {
    gaps: &'p Gaps,
    places: Vec<Place>,
    /// By class and member: the place that has it.
    holders: Vec<Vec<Option<usize>>>,
    /// By class: no member before this position is free.
    first_free: Vec<usize>,
}

impl<'p> Assignment<'p> {
    pub(super) fn new(gaps: &'p Gaps) -> Assignment<'p> {
        let nobody = |class: &super::gaps::Class| vec![None; class.members.len()];
        Assignment {
            gaps,
            places: Vec::new(),
            holders: gaps.classes.iter().map(nobody).collect(),
            first_free: vec![0; gaps.classes.len()],
        }
    }

    /// How many fillings have an operation.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The operation of each filling but the first `skipped`, in the order in which they came.
    pub(super) fn operations(&self, skipped: usize) -> impl Iterator<Item = Index> {
        let places = self.places.get(skipped..).unwrap_or(&[]);
        places.iter().map(|place| {
            let (class, member) = place.seat;
            self.gaps.classes[class].members[member]
        })
    }

    /// Gives one of the classes' operations to the gap at `revision`, which comes after all others.
    ///
    /// # Errors
    /// The gaps whose fillings would have to change for this to be possible.
    pub(super) fn push(
        &mut self,
        revision: i64,
        classes: Vec<usize>,
        deadline: u64,
    ) -> Result<(), Vec<i64>> {
        let seat = match self.free(&classes, deadline) {
            Some(seat) => seat,
            None => self.make_room(&classes, deadline)?,
        };
        self.places.push(Place {
            revision,
            classes,
            deadline,
            seat,
        });
        self.sit(self.places.len() - 1, seat);
        Ok(())
    }

    /// Takes the operations back from all fillings but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        for place in self.places.drain(len..) {
            let (class, member) = place.seat;
            self.holders[class][member] = None;
            self.first_free[class] = self.first_free[class].min(member);
        }
    }

    fn sit(&mut self, place: usize, seat: Seat) {
        let (class, member) = seat;
        self.places[place].seat = seat;
        let holders = &mut self.holders[class];
        holders[member] = Some(place);
        let free = &mut self.first_free[class];
        while holders.get(*free).is_some_and(Option::is_some) {
            *free += 1;
        }
    }

    /// A free operation of one of the classes. Those of several classes that have most to spare are
    /// preferred.
    fn free(&self, classes: &[usize], deadline: u64) -> Option<Seat> {
        let seat = |class: &usize| {
            let member = self.first_free[*class];
            let call = self.gaps.classes[*class].calls.get(member)?;
            (*call <= deadline).then_some((*class, member))
        };
        let spare = |seat: &Seat| self.gaps.classes[seat.0].calls.len() - seat.1;
        classes.iter().filter_map(seat).max_by_key(spare)
    }

    /// Lets others move until one of the wanted operations is free, and returns it.
    fn make_room(&mut self, classes: &[usize], deadline: u64) -> Result<Seat, Vec<i64>> {
        // By place that was asked to move: who asked, `None` for the new one.
        let mut asked: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let mut queue: Vec<usize> = Vec::new();
        // By class: all holders up to this member were asked.
        let mut scanned: BTreeMap<usize, usize> = BTreeMap::new();
        let mut next = 0;
        let mut by = None;
        loop {
            let (classes, deadline) = match by {
                None => (classes, deadline),
                Some(place) => {
                    let place: &Place = &self.places[place];
                    (&place.classes[..], place.deadline)
                }
            };
            for class in classes {
                let calls = &self.gaps.classes[*class].calls;
                let in_time = calls.partition_point(|call| *call <= deadline);
                let scanned = scanned.entry(*class).or_default();
                let holders = self.holders[*class].iter().take(in_time).skip(*scanned);
                for holder in holders.flatten() {
                    asked.entry(*holder).or_insert_with(|| {
                        queue.push(*holder);
                        by
                    });
                }
                *scanned = (*scanned).max(in_time);
            }
            let Some(place) = queue.get(next).copied() else {
                let gaps = asked.keys().map(|place| self.places[*place].revision);
                return Err(gaps.collect());
            };
            next += 1;
            let Place {
                classes, deadline, ..
            } = &self.places[place];
            if let Some(seat) = self.free(classes, *deadline) {
                return Ok(self.shift(place, seat, &asked));
            }
            by = Some(place);
        }
    }

    /// Moves `place` to a free seat, whoever asked it to move to its old one, and so on; returns the
    /// seat that is free then.
    fn shift(&mut self, place: usize, seat: Seat, asked: &BTreeMap<usize, Option<usize>>) -> Seat {
        let (mut place, mut seat) = (Some(place), seat);
        while let Some(now) = place {
            let old = self.places[now].seat;
            self.sit(now, seat);
            seat = old;
            place = asked.get(&now).copied().flatten();
        }
        seat
    }
}
