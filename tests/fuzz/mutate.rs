//! Changes to inputs: of bytes, of protocol buffers, of JSON.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

/// No mutation makes an input longer than this, bytes.
pub const INPUT_BYTES_MAX: usize = 512 << 10;
/// Messages are nested as deep as this at most.
const NESTING_MAX: usize = 400;

/// Numbers at the edges of what decoders reckon with.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x3ff_ffff,
    0x400_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x3fff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Where draws come from: the same for a seed and a name.
pub struct Draw(ChaCha8Rng);

impl Draw {
    pub fn new(seed: u64, name: &str) -> Draw {
        let name = u64::from(crc32c::crc32c(name.as_bytes()));
        Draw(ChaCha8Rng::seed_from_u64(seed ^ name << 32))
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 => 0,
            _ => (self.number() % bound as u64) as usize,
        }
    }

    /// Whether something that happens once in `chance` times happens.
    pub fn once_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// A number near an edge, near `known`, or any.
    pub fn edge(&mut self, known: u64) -> u64 {
        match self.below(5) {
            0 => known.wrapping_add(self.below(5) as u64).wrapping_sub(2),
            1 => self.number() >> self.below(64),
            2 => self
                .pick(&EDGES)
                .wrapping_add(self.below(3) as u64)
                .wrapping_sub(1),
            _ => *self.pick(&EDGES),
        }
    }

    /// A few bytes.
    pub fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        match self.below(3) {
            0 => vec![*self.pick(&[0, 0xff, 0x80, b'a']); length],
            _ => (0..length).map(|_| self.number() as u8).collect(),
        }
    }

    /// A place in `0..=length` and how far to go from it, short more often than long.
    fn span(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        let most = match self.below(3) {
            0 => 4,
            1 => 32,
            _ => length,
        };
        (start, start + self.below(most.min(length - start) + 1))
    }
}

/// Changes bytes in one to four places, with pieces of `other` among what is put in.
pub fn bytes(draw: &mut Draw, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(4) {
        change(draw, &mut bytes, other);
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn change(draw: &mut Draw, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = draw.below(bytes.len());
    match draw.below(13) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draw.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *draw.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'[', b'/']);
            }
        }
        3 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = draw.number() as u8;
            }
        }
        4 => {
            let noise = draw.noise(24);
            bytes.splice(at..at, noise);
        }
        5 => {
            let (from, to) = draw.span(bytes.len());
            bytes.drain(from..to);
        }
        6 => {
            let (from, to) = draw.span(bytes.len());
            let times = 1 + draw.below(8);
            let chunk = bytes[from..to].repeat(times);
            bytes.splice(to..to, chunk);
        }
        7 => {
            let (from, to) = draw.span(other.len());
            let (start, end) = draw.span(bytes.len());
            bytes.splice(start..end, other[from..to].iter().copied());
        }
        8 => bytes.truncate(at),
        9 => {
            // A length that is not.
            let value = draw.edge(bytes.len() as u64).to_le_bytes();
            let width = *draw.pick(&[1, 2, 4, 8]);
            let is_big = draw.once_in(2);
            for (offset, byte) in bytes.iter_mut().skip(at).take(width).enumerate() {
                *byte = value[if is_big { width - 1 - offset } else { offset }];
            }
        }
        10 => {
            let value = draw.edge(bytes.len() as u64);
            let end = (at + 1).min(bytes.len());
            bytes.splice(at..end, varint(value));
        }
        11 => {
            // A varint without an end.
            let run = vec![0xff; 1 + draw.below(12)];
            bytes.splice(at..at, run);
        }
        _ => {
            let (from, to) = draw.span(bytes.len());
            bytes[from..to].fill(0);
        }
    }
}

/// A number as protocol buffers have it.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Takes such a number off the front.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A field of a message whose definition is not known.
#[derive(Clone, Debug)]
struct Field {
    number: u64,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Number(u64),
    Fixed(u8, Vec<u8>),
    Bytes(Vec<u8>),
}

fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let content = match tag & 7 {
            0 => Content::Number(take_varint(&mut bytes)?),
            1 | 5 => {
                let width = if tag & 7 == 1 { 8 } else { 4 };
                let (fixed, rest) = bytes.split_at_checked(width)?;
                bytes = rest;
                Content::Fixed((tag & 7) as u8, fixed.to_vec())
            }
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Content::Bytes(content.to_vec())
            }
            _ => return None,
        };
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        fields.push(Field { number, content });
    }
    Some(fields)
}

fn encoded(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        let kind = match &field.content {
            Content::Number(_) => 0,
            Content::Fixed(kind, _) => u64::from(*kind),
            Content::Bytes(_) => 2,
        };
        bytes.extend(varint(field.number << 3 | kind));
        match &field.content {
            Content::Number(value) => bytes.extend(varint(*value)),
            Content::Fixed(_, fixed) => bytes.extend(fixed),
            Content::Bytes(content) => {
                bytes.extend(varint(content.len() as u64));
                bytes.extend(content);
            }
        }
    }
    bytes
}

/// Changes a message as one: fields go, come twice, change place, number, kind or value, messages
/// are put into themselves. Lengths stay right, but for an occasional change of mere bytes.
pub fn message(draw: &mut Draw, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(3) {
        bytes = message_change(draw, &bytes, other);
        if bytes.len() > INPUT_BYTES_MAX {
            bytes.truncate(INPUT_BYTES_MAX);
            break;
        }
    }
    bytes
}

fn message_change(draw: &mut Draw, input: &[u8], other: &[u8]) -> Vec<u8> {
    let Some(mut found) = fields(input) else {
        return self::bytes(draw, input, other);
    };
    if draw.once_in(12) {
        return self::bytes(draw, input, other);
    }
    if found.is_empty() || draw.once_in(16) {
        let number = 1 + draw.below(40) as u64;
        let content = match draw.below(3) {
            0 => Content::Number(draw.edge(1)),
            _ => Content::Bytes(draw.noise(40)),
        };
        found.push(Field { number, content });
        return encoded(&found);
    }
    let at = draw.below(found.len());
    match draw.below(14) {
        0 => drop(found.remove(at)),
        1 => {
            let field = found[at].clone();
            let times = match draw.below(8) {
                0 => 200,
                1 => 20,
                _ => 1,
            };
            for _ in 0..times {
                found.insert(at, field.clone());
            }
        }
        2 => {
            let place = draw.below(found.len());
            found.swap(at, place);
        }
        3 => found[at].number = 1 + draw.below(50) as u64,
        4 => {
            // The same message inside itself, again and again.
            let deep = 1 + draw.below(NESTING_MAX);
            let number = found[at].number;
            let mut inner = encoded(&found);
            for _ in 0..deep {
                inner = encoded(&[Field {
                    number,
                    content: Content::Bytes(inner),
                }]);
                if inner.len() > INPUT_BYTES_MAX / 4 {
                    break;
                }
            }
            return inner;
        }
        5 => {
            if let Some(others) = fields(other).filter(|others| !others.is_empty()) {
                let field = draw.pick(&others).clone();
                found.insert(at, field);
            }
        }
        6 => {
            let content = match &found[at].content {
                Content::Number(value) => Content::Bytes(varint(*value)),
                Content::Fixed(_, fixed) => Content::Bytes(fixed.clone()),
                Content::Bytes(_) => Content::Number(draw.edge(2)),
            };
            found[at].content = content;
        }
        _ => {
            found[at].content = match found[at].content.clone() {
                Content::Number(value) => Content::Number(draw.edge(value)),
                Content::Fixed(kind, mut fixed) => {
                    let place = draw.below(fixed.len());
                    fixed[place] ^= 1 << draw.below(8);
                    Content::Fixed(kind, fixed)
                }
                Content::Bytes(content) => Content::Bytes(match fields(&content) {
                    Some(inner) if !inner.is_empty() && !draw.once_in(6) => {
                        message_change(draw, &content, other)
                    }
                    _ if draw.once_in(8) => Vec::new(),
                    _ if draw.once_in(20) => vec![b'x'; 1 << draw.below(18)],
                    _ => self::bytes(draw, &content, other),
                }),
            };
        }
    }
    encoded(&found)
}

/// Changes JSON as such, or as text.
pub fn json(draw: &mut Draw, input: &[u8], other: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(input) else {
        return bytes(draw, input, other);
    };
    if draw.once_in(5) {
        return bytes(draw, input, other);
    }
    let other = serde_json::from_slice(other).unwrap_or(Value::Null);
    for _ in 0..=draw.below(3) {
        json_change(draw, &mut value, &other);
    }
    let mut text = serde_json::to_vec(&value).unwrap();
    if draw.once_in(12) {
        // Deeper than any program wants to descend; not by a `Value`, whose destructor would.
        let deep = 1 + draw.below(50_000);
        let (open, close) = *draw.pick(&[("[", "]"), ("{\"a\":", "}"), ("{\"success\":[", "]}")]);
        text = [
            open.repeat(deep).into_bytes(),
            text,
            close.repeat(deep).into_bytes(),
        ]
        .concat();
    }
    text.truncate(INPUT_BYTES_MAX);
    text
}

fn json_change(draw: &mut Draw, value: &mut Value, other: &Value) {
    if draw.once_in(4) {
        *value = odd_json(draw, other);
        return;
    }
    match value {
        Value::Object(members) if !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = draw.pick(&names).clone();
            match draw.below(8) {
                0 => drop(members.remove(&name)),
                1 => {
                    let content = members.remove(&name).unwrap_or_default();
                    let name = match draw.below(4) {
                        0 => String::new(),
                        1 => name.to_uppercase(),
                        2 => format!("[etcdserverpb.{name}]"),
                        _ => name.replace('_', ""),
                    };
                    members.insert(name, content);
                }
                2 => {
                    if let Value::Object(others) = other {
                        members.extend(others.clone());
                    }
                }
                _ => json_change(draw, &mut members[&name], other),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = draw.below(items.len());
            match draw.below(4) {
                0 => drop(items.remove(at)),
                1 => {
                    let item = items[at].clone();
                    let times = *draw.pick(&[1, 1, 20, 200]);
                    items.extend(std::iter::repeat_n(item, times));
                }
                _ => json_change(draw, &mut items[at], other),
            }
        }
        other_kind => *other_kind = odd_json(draw, other),
    }
}

fn odd_json(draw: &mut Draw, other: &Value) -> Value {
    match draw.below(14) {
        0 => Value::Null,
        1 => Value::Bool(draw.once_in(2)),
        2 => draw.edge(1).into(),
        3 => (draw.edge(1) as i64).into(),
        4 => draw.edge(1).to_string().into(),
        5 => (draw.edge(1) as i64).to_string().into(),
        6 => Value::from(*draw.pick(&[0.5, -1e300, 1e308, -0.0])),
        7 => Value::from(*draw.pick(&[
            "NaN", "-1", "1e400", "Zm9v", "=", "Zm9v====", "\u{0}", "ZZ-_",
        ])),
        8 => "A".repeat(1 << draw.below(16)).into(),
        9 => Value::Array(Vec::new()),
        10 => Value::Object(serde_json::Map::new()),
        11 => Value::Array(vec![other.clone(); 1 + draw.below(4)]),
        _ => other.clone(),
    }
}
