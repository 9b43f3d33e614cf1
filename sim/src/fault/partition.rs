//! Partition: a switch or a cable fails, or a firewall rule is wrong. Bytes on cut links are held by
//! the kernels and retransmitted after the heal; nobody is told. Clients reach every member
//! throughout: only links between members are cut.

use super::{Begun, Injector};
use crate::rng::Stream;
use crate::scenario::{Direction, Shape};
use crate::world;

pub fn begin(injector: &Injector, members: Vec<u32>, shape: Shape, random: &mut Stream) -> Begun {
    let all = injector.cluster.numbers();
    let (links, detail) = match shape {
        Shape::TwoWay if members.len() == all.len() => {
            (pairs(&all, &all), "every member alone".to_owned())
        }
        Shape::TwoWay => {
            let others = without(&all, &members);
            let mut links = pairs(&members, &others);
            links.extend(pairs(&others, &members));
            (links, format!("{} | {}", names(&members), names(&others)))
        }
        Shape::OneWay(direction) => {
            let others = without(&all, &members);
            match direction {
                Direction::In => (
                    pairs(&others, &members),
                    format!("{} hears nothing", names(&members)),
                ),
                Direction::Out => (
                    pairs(&members, &others),
                    format!("{} is not heard", names(&members)),
                ),
            }
        }
        Shape::Partial { with } => {
            let mut ends = injector.resolve(with, random);
            ends.retain(|end| !members.contains(end));
            if ends.is_empty() {
                // The rule came to the target itself: the next member takes its place.
                ends.extend(without(&all, &members).first());
            }
            let mut links = pairs(&members, &ends);
            links.extend(pairs(&ends, &members));
            (links, format!("{} -/- {}", names(&members), names(&ends)))
        }
    };
    if members.is_empty() {
        return Begun {
            members,
            detail: "nobody leads".to_owned(),
            ending: None,
        };
    }
    change(injector, &links, true);
    let ending = {
        let injector = injector.clone();
        move || change(&injector, &links, false)
    };
    Begun {
        members,
        detail,
        ending: Some(Box::new(ending)),
    }
}

/// Counts cuts up or down; a link is cut as long as any fault cuts it.
fn change(injector: &Injector, links: &[(u32, u32)], cut: bool) {
    let net = injector.cluster.world().net();
    for &(from, to) in links {
        let (a, b) = (injector.cluster.node(from), injector.cluster.node(to));
        let mut shared = injector.lock();
        let count = shared.cuts.entry((from, to)).or_insert(0);
        if cut {
            *count += 1;
            if *count == 1 {
                net.cut(a, b, world::Direction::AToB);
            }
        } else {
            *count -= 1;
            if *count == 0 {
                net.heal(a, b, world::Direction::AToB);
            }
        }
    }
}

fn pairs(from: &[u32], to: &[u32]) -> Vec<(u32, u32)> {
    let each = |a: &u32| to.iter().map(move |b| (*a, *b)).collect::<Vec<_>>();
    let links = from.iter().flat_map(each);
    links.filter(|(a, b)| a != b).collect()
}

fn without(all: &[u32], members: &[u32]) -> Vec<u32> {
    all.iter()
        .copied()
        .filter(|n| !members.contains(n))
        .collect()
}

fn names(members: &[u32]) -> String {
    let names: Vec<String> = members.iter().map(|n| format!("m{n}")).collect();
    names.join(" ")
}
