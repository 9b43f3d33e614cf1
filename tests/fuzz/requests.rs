//! Every method of the protocol definitions, and valid messages for it, made from its descriptor.

use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use vetcd::api::descriptors;

/// A method that clients call.
pub struct Method {
    pub path: String,
    pub descriptor: MethodDescriptor,
}

/// All of them, in the order of their paths.
pub fn methods() -> Vec<Method> {
    let mut methods: Vec<Method> = descriptors::methods()
        .map(|(path, ..)| Method {
            descriptor: descriptors::method(&path).unwrap(),
            path,
        })
        .collect();
    methods.sort_by(|a, b| a.path.cmp(&b.path));
    methods
}

/// Messages of this kind: the empty one, and fuller ones with each choice of every `oneof`.
pub fn messages(kind: &MessageDescriptor) -> Vec<DynamicMessage> {
    let mut messages = vec![DynamicMessage::new(kind.clone())];
    messages.extend((0..4).map(|variant| filled(kind, variant, 0)));
    messages
}

/// How deep messages hold messages.
const DEEP: usize = 4;

fn filled(kind: &MessageDescriptor, variant: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    for (number, field) in kind.fields().enumerate() {
        if let Some(choices) = field.containing_oneof() {
            let count = choices.fields().count();
            let place = choices.fields().position(|other| other == field);
            if place != Some((variant + depth) % count) {
                continue;
            }
        } else if variant % 2 == 1 && number % 2 == variant / 2 {
            // Not every field at once.
            continue;
        }
        let Some(value) = value(&field, variant, depth) else {
            continue;
        };
        let value = match (field.is_map(), field.is_list()) {
            (true, _) => continue,
            (_, true) => Value::List(vec![value; 1 + variant % 2]),
            _ => value,
        };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, variant: usize, depth: usize) -> Option<Value> {
    let name = field.name().to_ascii_lowercase();
    let small = variant as i64 + 1;
    Some(match field.kind() {
        Kind::Bool => Value::Bool(variant.is_multiple_of(2)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(small as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(match name.as_str() {
            // Leases that exist, once one was granted with this very number.
            "id" | "lease" => 7,
            "ttl" => 3600,
            "revision" => small,
            _ => 1,
        }),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(small as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(small as u64),
        Kind::Float => Value::F32(1.5),
        Kind::Double => Value::F64(1.5),
        Kind::String => Value::String(match name.as_str() {
            "name" | "user" if variant.is_multiple_of(2) => "root".to_owned(),
            "role" | "roles" => "root".to_owned(),
            name if name.contains("url") => "http://m9:2380".to_owned(),
            _ => "alice".to_owned(),
        }),
        Kind::Bytes => Value::Bytes(match name.as_str() {
            "range_end" => b"z".to_vec().into(),
            "key" | "name" | "leader" => format!("k{}", variant % 2).into_bytes().into(),
            _ => vec![b'v'; 20].into(),
        }),
        Kind::Enum(kind) => {
            let count = kind.values().count();
            Value::EnumNumber(kind.values().nth(variant % count)?.number())
        }
        Kind::Message(kind) => {
            if depth == DEEP {
                return None;
            }
            Value::Message(filled(&kind, variant, depth + 1))
        }
    })
}

/// A message as JSON, as the gateway takes it.
pub fn json(message: &DynamicMessage) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

/// A message as it is on the wire.
pub fn wire(message: &DynamicMessage) -> Vec<u8> {
    message.encode_to_vec()
}
