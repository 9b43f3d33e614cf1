//! What a power loss leaves of a file: see the fault model of the disk.

use std::collections::BTreeSet;

use super::content::Content;
use super::file::Change;
use crate::rng::Stream;

/// The chance that a sector which survives is torn, where sectors may tear.
const TORN_CHANCE: f64 = 0.125;

/// How much of what was not synced survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing: the disk holds exactly what was durable.
    LoseAll,
    /// Any part, drawn at random: see the fault model.
    Random,
    /// Everything, as if it had been synced.
    KeepAll,
}

/// What a power loss does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    /// How much of what was not synced survives.
    pub unsynced: Unsynced,
    /// The unit in which written bytes survive, in bytes (at least 1).
    pub sector: u32,
    /// Whether a sector can be torn.
    pub torn: bool,
}

impl PowerLoss {
    /// Nothing un-synced survives.
    pub fn lose_all() -> PowerLoss {
        PowerLoss {
            unsynced: Unsynced::LoseAll,
            sector: 512,
            torn: false,
        }
    }

    /// A random part survives, in whole sectors of 512 bytes.
    pub fn random() -> PowerLoss {
        PowerLoss {
            unsynced: Unsynced::Random,
            sector: 512,
            torn: false,
        }
    }

    /// Everything survives.
    pub fn keep_all() -> PowerLoss {
        PowerLoss {
            unsynced: Unsynced::KeepAll,
            sector: 512,
            torn: false,
        }
    }
}

/// What a power loss did to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLoss {
    /// The file's path.
    pub path: String,
    /// Un-synced bytes that survived.
    pub kept: u64,
    /// Un-synced bytes that did not.
    pub lost: u64,
    /// Sectors of which only the beginning survived.
    pub torn: u64,
}

/// Decides, one question at a time, what survives. Every sequence of answers is a legal outcome, and
/// there are no others: whoever gives all sequences goes through all that a power loss can leave.
pub(super) trait Fates {
    /// Which of `count` un-synced changes of names survive, in their order.
    fn names(&mut self, count: usize) -> Vec<bool>;
    /// The questions that follow are about another file.
    fn begin_file(&mut self);
    /// Whether the file's next length survives; after the first "no" nobody asks again.
    fn length(&mut self) -> bool;
    /// How many of the `length` new bytes of a sector survive; after fewer than all nobody asks
    /// about that sector of the file again.
    fn sector(&mut self, sector: u64, length: usize) -> usize;
}

/// Fates drawn at random, as [`PowerLoss`] says.
pub(super) struct Drawn<'a> {
    policy: PowerLoss,
    draws: &'a mut Stream,
    /// The chance of each further version of a sector, drawn once per file.
    chance: f64,
}

impl<'a> Drawn<'a> {
    pub(super) fn new(policy: PowerLoss, draws: &'a mut Stream) -> Drawn<'a> {
        Drawn {
            policy,
            draws,
            chance: 0.0,
        }
    }
}

impl Fates for Drawn<'_> {
    fn names(&mut self, count: usize) -> Vec<bool> {
        match self.policy.unsynced {
            Unsynced::LoseAll => vec![false; count],
            Unsynced::KeepAll => vec![true; count],
            Unsynced::Random if self.draws.chance(0.5) => {
                let kept = self.draws.range(0..count as u64 + 1) as usize;
                (0..count).map(|index| index < kept).collect()
            }
            Unsynced::Random => {
                let chance = self.draws.unit();
                (0..count).map(|_| self.draws.chance(chance)).collect()
            }
        }
    }

    fn begin_file(&mut self) {
        self.chance = match self.policy.unsynced {
            Unsynced::LoseAll => 0.0,
            Unsynced::Random => self.draws.unit(),
            Unsynced::KeepAll => 1.0,
        };
    }

    fn length(&mut self) -> bool {
        self.draws.chance(self.chance)
    }

    fn sector(&mut self, _sector: u64, length: usize) -> usize {
        if !self.draws.chance(self.chance) {
            return 0;
        }
        let tears = self.policy.torn && self.policy.unsynced == Unsynced::Random && length > 1;
        if tears && self.draws.chance(TORN_CHANCE) {
            return self.draws.range(1..length as u64) as usize;
        }
        length
    }
}

/// Rebuilds a file after a power loss from its durable content and the changes since.
pub(super) struct Survival<'a> {
    sector_bytes: u64,
    fates: &'a mut dyn Fates,
    content: &'a mut Content,
    /// Sectors whose later versions are lost.
    stopped: BTreeSet<u64>,
    /// The length that survives, and whether later lengths still can.
    length: u64,
    length_stopped: bool,
    loss: FileLoss,
}

impl<'a> Survival<'a> {
    pub(super) fn new(
        sector: u32,
        fates: &'a mut dyn Fates,
        content: &'a mut Content,
        path: String,
    ) -> Survival<'a> {
        fates.begin_file();
        let length = content.length();
        let loss = FileLoss {
            path,
            kept: 0,
            lost: 0,
            torn: 0,
        };
        let stopped = BTreeSet::new();
        Survival {
            sector_bytes: u64::from(sector.max(1)),
            fates,
            content,
            stopped,
            length,
            length_stopped: false,
            loss,
        }
    }

    /// The next change in order; `durable` ones survive for certain.
    pub(super) fn apply(&mut self, change: Change, durable: bool) {
        match change {
            Change::Write { offset, data } => {
                let end = offset + data.len() as u64;
                if end > self.length {
                    self.set_length(end, durable);
                }
                match durable {
                    true => self.content.write(offset, &data),
                    false => self.write_sectors(offset, &data),
                }
            }
            Change::SetLength(length) => {
                if self.set_length(length, durable) {
                    self.content.set_length(length);
                }
            }
        }
    }

    fn set_length(&mut self, length: u64, durable: bool) -> bool {
        if !durable {
            self.length_stopped = self.length_stopped || !self.fates.length();
            if self.length_stopped {
                return false;
            }
        }
        self.length = length;
        true
    }

    fn write_sectors(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        let mut position = offset;
        while position < end {
            let sector = position / self.sector_bytes;
            let until = ((sector + 1) * self.sector_bytes).min(end);
            let part = &data[(position - offset) as usize..(until - offset) as usize];
            let kept = self.surviving_part(sector, part.len());
            if kept > 0 {
                self.content.write(position, &part[..kept]);
            }
            self.loss.kept += kept as u64;
            self.loss.lost += (part.len() - kept) as u64;
            position = until;
        }
    }

    /// How many of the `length` new bytes of `sector` survive.
    fn surviving_part(&mut self, sector: u64, length: usize) -> usize {
        if self.stopped.contains(&sector) {
            return 0;
        }
        let kept = self.fates.sector(sector, length);
        if kept < length {
            self.stopped.insert(sector);
            self.loss.torn += u64::from(kept > 0);
        }
        kept
    }

    pub(super) fn finish(self) -> FileLoss {
        self.content.set_length(self.length);
        self.loss
    }
}
