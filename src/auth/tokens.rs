//! Simple tokens: which user holds which. Every member keeps its own list, filled by the log, so
//! that a token is good at every member; none survives a restart, and clients then log in again.
//!
//! A token is sixteen letters drawn by the member that was asked, a dot, and the index of its log
//! entry. The index tells a member that lags how far it must come before it can judge the token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::host::{Host, Moment};

/// The most tokens a member remembers. Beyond it, the one that would expire first goes.
pub const TOKENS_MAX: usize = 100_000;

/// A use within this time of the last changes nothing, which keeps uses cheap.
const RENEWAL_STEP: Duration = Duration::from_secs(1);
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LETTERS: usize = 16;

/// The tokens that a member knows.
#[derive(Debug)]
pub struct Tokens {
    time_to_live: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    users: BTreeMap<Arc<str>, (Arc<str>, Moment)>,
    by_expiry: BTreeSet<(Moment, Arc<str>)>,
}

impl Tokens {
    /// None yet; each is forgotten when it has not been used for `time_to_live`.
    pub fn new(time_to_live: Duration) -> Tokens {
        Tokens {
            time_to_live,
            held: Mutex::default(),
        }
    }

    /// Remembers that `user` holds `token`.
    pub fn assign(&self, token: &str, user: &str, now: Moment) {
        let mut held = self.lock();
        held.expire(now);
        while held.users.len() >= TOKENS_MAX {
            let Some((_, first)) = held.by_expiry.pop_first() else {
                break;
            };
            held.users.remove(&first);
        }
        let token: Arc<str> = token.into();
        held.forget(&token);
        held.put(token, user.into(), now + self.time_to_live);
    }

    /// Whose token it is, if it is anybody's; it then lives on for another full time.
    pub fn user(&self, token: &str, now: Moment) -> Option<String> {
        let mut held = self.lock();
        held.expire(now);
        let (user, expires) = held.users.get(token)?;
        let (user, expires) = (user.clone(), *expires);
        let renewed = now + self.time_to_live;
        if renewed.since(expires) >= RENEWAL_STEP {
            let token = held.forget(token)?;
            held.put(token, user.clone(), renewed);
        }
        Some(user.to_string())
    }

    /// Forgets all tokens of a user.
    pub fn forget_user(&self, user: &str) {
        let mut held = self.lock();
        let tokens: Vec<Arc<str>> = held
            .users
            .iter()
            .filter(|(_, (holder, _))| &**holder == user)
            .map(|(token, _)| token.clone())
            .collect();
        for token in tokens {
            held.forget(&token);
        }
    }

    /// Forgets every token.
    pub fn forget_all(&self) {
        *self.lock() = Held::default();
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.lock().users.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Held {
    fn put(&mut self, token: Arc<str>, user: Arc<str>, expires: Moment) {
        self.by_expiry.insert((expires, token.clone()));
        self.users.insert(token, (user, expires));
    }

    fn forget(&mut self, token: &str) -> Option<Arc<str>> {
        let (token, (_, expires)) = self.users.remove_entry(token)?;
        self.by_expiry.remove(&(expires, token.clone()));
        Some(token)
    }

    fn expire(&mut self, now: Moment) {
        while let Some((expires, _)) = self.by_expiry.first()
            && *expires < now
        {
            if let Some((_, token)) = self.by_expiry.pop_first() {
                self.users.remove(&token);
            }
        }
    }
}

/// Draws the part of a token that nobody can guess.
pub fn draw_prefix(host: &dyn Host) -> String {
    // A byte of 208 or more is drawn again: 208 is the largest multiple of 52 in a byte.
    let mut prefix = String::with_capacity(PREFIX_LETTERS);
    while prefix.len() < PREFIX_LETTERS {
        let mut bytes = [0; PREFIX_LETTERS];
        host.fill_random(&mut bytes);
        for byte in bytes {
            let letter = usize::from(byte);
            if letter < 208 && prefix.len() < PREFIX_LETTERS {
                prefix.push(char::from(LETTERS[letter % LETTERS.len()]));
            }
        }
    }
    prefix
}

/// The whole token of the log entry at `index`.
pub fn complete(prefix: &str, index: u64) -> String {
    format!("{prefix}.{index}")
}

/// The index of the log entry that made `token`; `None` when it is no simple token.
pub fn index_of(token: &str) -> Option<u64> {
    let (prefix, index) = token.split_once('.')?;
    let plain = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    (!prefix.is_empty() && plain).then(|| index.parse().ok())?
}
