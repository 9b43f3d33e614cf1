//! Finds gRPC's messages in the bytes of a body as they go by.
//!
//! A message is one byte, its length in four, and so many bytes. Nothing is kept of it.

/// How far a body is.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// Bytes of the present message still to come.
    left: u64,
    /// What has come of the next message's prefix.
    prefix: [u8; 5],
    filled: usize,
}

/// What a piece of a body held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages that ended in it.
    pub messages: u64,
    /// Bytes of messages, without what stands before them.
    pub bytes: u64,
}

impl Messages {
    /// Takes the next piece.
    pub fn pass(&mut self, mut piece: &[u8]) -> Passed {
        let mut passed = Passed::default();
        while !piece.is_empty() {
            if self.left > 0 {
                let here = self.left.min(piece.len() as u64);
                self.left -= here;
                passed.bytes += here;
                passed.messages += u64::from(self.left == 0);
                piece = &piece[here as usize..];
                continue;
            }
            let here = (self.prefix.len() - self.filled).min(piece.len());
            self.prefix[self.filled..self.filled + here].copy_from_slice(&piece[..here]);
            self.filled += here;
            piece = &piece[here..];
            if self.filled == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length).into();
                self.filled = 0;
                passed.messages += u64::from(self.left == 0);
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let body = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\x01\x00".to_vec();
        let body = [body, vec![7; 256], b"\0\0\0\0\x09cut".to_vec()].concat();
        for step in 1..body.len() {
            let mut messages = Messages::default();
            let mut sum = Passed::default();
            for piece in body.chunks(step) {
                let passed = messages.pass(piece);
                sum.messages += passed.messages;
                sum.bytes += passed.bytes;
            }
            let expected = Passed {
                messages: 3,
                bytes: 3 + 256 + 3,
            };
            assert_eq!(sum, expected, "in steps of {step}");
        }
    }
}
