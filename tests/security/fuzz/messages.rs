//! Fuzz inputs of messages between servers: valid, nearly valid and unknown fields, in any order
//! and number.

use proptest::prelude::*;
use proptest::sample::select;
use prost::encoding::encode_varint;

use super::inputs::{Input, change, changes, noise, seed};

/// Keys, lengths and numbers for special cases.
const PIECES: &[&str] = &[
    "\0", "\u{1}", "\n", "\u{12}", "\u{1a}", "\"", "(", "0", ":", "\u{7f}", "Riley", "Jaquez",
    "Bernard", "test", "kiwi", "+1+1", "1", "\u{b}", "\u{c}", ";", "<",
];

/// The types of protobuf fields.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED32: u32 = 5;

pub(crate) fn pushes() -> impl Strategy<Value = Input> {
    let header = [
        text(1, &["test"], &["other", "te st", ""]),
        text(2, &["Jaquez"], &["Riley", "Bernard", "Nobody", "-"]),
        fixed(3, &[11], &[0, 7, u64::MAX]),
        fixed(4, &[7], &[0, 11]),
        number(5, &[0], &[1, u64::MAX]),
        number(6, &[0, 1, 300, u64::MAX], &[]),
    ];
    let reports = prop::collection::vec(report().prop_map(|report| bytes(7, &report)), 0..5);
    let others = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(unknown(), 1..3)];
    let flood = prop_oneof![
        60 => Just(Vec::new()),
        1 => (9_990..10_010_usize).prop_map(|count| valid_report(7).repeat(count)),
    ];
    let tags = prop::option::weighted(0.6, tags());
    let fields = (header, reports, tags, vector(), others, flood);
    let message = fields.prop_map(|(header, reports, tags, vector, others, flood)| {
        let tags = tags.map_or_else(Vec::new, |tags| tag_fields(reports.len(), tags));
        [header.to_vec(), reports, tags, vector, others, vec![flood]].concat()
    });
    let message = shuffled(message);
    let bytes = prop_oneof![8 => message, 2 => seed("push"), 1 => noise(60)];
    (bytes, changes(PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}

pub(crate) fn greetings() -> impl Strategy<Value = Input> {
    let fields = [
        number(1, &[1], &[0, 2, 1 << 32, u64::MAX]),
        number(2, &[0, 9], &[]),
        text(3, &["test"], &["other", "te st", "\u{1b}[31mred", ""]),
        text(4, &["Jaquez"], &["Riley", "Bernard", "Nobody", "jaquez"]),
        fixed(5, &[11, u64::MAX], &[0]),
        text(6, &["Riley"], &["Bernard", "Riley\n", ""]),
    ];
    let others = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(unknown(), 1..3)];
    let message = (fields, others).prop_map(|(fields, others)| [fields.to_vec(), others].concat());
    let message = shuffled(message);
    let bytes = prop_oneof![8 => message, 2 => seed("greeting"), 1 => noise(60)];
    (bytes, changes(PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}

/// Generates origins, numbers of tags, a number of tags too many, and whether numbers are packed.
fn tags() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, usize, bool)> {
    let origins = prop::collection::vec(prop_oneof![20 => 1..4_u64, 1 => any::<u64>()], 0..4);
    let place = prop_oneof![20 => 0..4_u64, 1 => any::<u64>()];
    let numbers = prop::collection::vec((place, any::<u64>()), 5);
    let numbers = numbers.prop_map(|all| all.into_iter().flat_map(|it| [it.0, it.1]).collect());
    let excess = prop_oneof![30 => Just(0), 1 => 1..3_usize];
    (origins, numbers, excess, any::<bool>())
}

/// Returns the fields of origins, and of the tags of this number of reports.
fn tag_fields(
    reports: usize,
    (origins, numbers, excess, is_packed): (Vec<u64>, Vec<u64>, usize, bool),
) -> Vec<Vec<u8>> {
    let origins = origins.iter().map(|it| it.to_le_bytes().to_vec());
    let numbers = numbers.iter().cycle().take(2 * reports + excess);
    let numbers = numbers.map(|&it| varint(it));
    if is_packed {
        let [origins, numbers] = [origins.collect::<Vec<_>>(), numbers.collect()];
        return vec![bytes(9, &origins.concat()), bytes(11, &numbers.concat())];
    }
    let origins = origins.map(|it| [key(9, FIXED64), it].concat());
    let numbers = numbers.map(|it| [key(11, VARINT), it].concat());
    vec![
        origins.collect::<Vec<_>>().concat(),
        numbers.collect::<Vec<_>>().concat(),
    ]
}

fn vector() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let origin = fixed(1, &[1, 11, u64::MAX], &[0]);
    let through = number(2, &[0, 3, u64::MAX], &[]);
    let entry = (origin, through).prop_map(|(origin, through)| [origin, through].concat());
    prop::collection::vec(entry.prop_map(|entry| bytes(10, &entry)), 0..3)
}

fn report() -> impl Strategy<Value = Vec<u8>> {
    let fields = [
        text(1, &["a", "b", "клиент"], &["", "a b"]),
        text(
            2,
            &["+1+1", "+1+1/", "-90-180.0", "+2+2"],
            &["+90.1+0", "1+1"],
        ),
        text(
            3,
            &[
                "1",
                "2",
                "1.5",
                "1.50",
                "1.0000000001",
                "1.0000000009",
                "01",
            ],
            &["1.", "9223372036854775808"],
        ),
        text(4, &["Riley", "a", "b"], &["a.b", "-a"]),
        number(5, &[0, 1, 2, u64::MAX, u64::MAX - 1], &[]),
    ];
    let others = prop_oneof![8 => Just(Vec::new()), 1 => prop::collection::vec(unknown(), 1..3)];
    let report = (fields, others).prop_map(|(fields, others)| [fields.to_vec(), others].concat());
    shuffled(report)
}

fn valid_report(field: u32) -> Vec<u8> {
    let texts = ["a", "+1+1", "1", "Riley"];
    let texts = texts
        .iter()
        .zip(1..)
        .map(|(text, field)| bytes(field, text.as_bytes()));
    bytes(field, &texts.collect::<Vec<_>>().concat())
}

/// Concatenates fields, mostly in their order, sometimes with one of them twice.
fn shuffled(fields: impl Strategy<Value = Vec<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    let twice = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (fields, twice, prop::bool::weighted(0.3), any::<u64>()).prop_map(
        |(mut fields, twice, mixed, order)| {
            if let Some(twice) = twice {
                fields.push(fields[twice.index(fields.len())].clone());
            }
            if mixed {
                let start = order as usize % fields.len();
                fields.rotate_left(start);
            }
            fields.concat()
        },
    )
}

/// Generates a string field, mostly with a good value.
fn text(
    field: u32,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> BoxedStrategy<Vec<u8>> {
    let encode = move |text: &str| bytes(field, text.as_bytes());
    let invalid = Just([key(field, BYTES), vec![1, 0xff]].concat());
    let wrong = Just([key(field, VARINT), vec![1]].concat());
    mostly(good, bad, encode, prop_oneof![invalid, wrong])
}

fn fixed(field: u32, good: &'static [u64], bad: &'static [u64]) -> BoxedStrategy<Vec<u8>> {
    let encode = move |number: u64| [key(field, FIXED64), number.to_le_bytes().to_vec()].concat();
    mostly(
        good,
        bad,
        encode,
        Just([key(field, VARINT), vec![7]].concat()),
    )
}

fn number(field: u32, good: &'static [u64], bad: &'static [u64]) -> BoxedStrategy<Vec<u8>> {
    let encode = move |number: u64| [key(field, VARINT), varint(number)].concat();
    let long = [key(field, VARINT), vec![0x80, 0x80, 0]].concat();
    mostly(good, bad, encode, Just(long))
}

fn mostly<T: Copy + std::fmt::Debug + 'static>(
    good: &'static [T],
    bad: &'static [T],
    encode: impl Fn(T) -> Vec<u8> + Clone + 'static,
    odd: impl Strategy<Value = Vec<u8>> + 'static,
) -> BoxedStrategy<Vec<u8>> {
    let others = if bad.is_empty() { good } else { bad };
    prop_oneof![
        60 => select(good).prop_map(encode.clone()),
        2 => select(others).prop_map(encode),
        1 => odd,
        1 => Just(Vec::new()),
    ]
    .boxed()
}

/// Generates an unknown field of any type.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![Just(15), 8..200_u32, Just((1 << 29) - 1), any::<u32>()];
    let value = (0..8_u32, any::<u64>(), noise(6));
    (number, value).prop_map(|(number, (kind, value, content))| {
        let tail = match kind {
            VARINT => varint(value),
            FIXED64 => value.to_le_bytes().to_vec(),
            BYTES => [varint(content.len() as u64), content].concat(),
            GROUP => [bytes(1, &content), key(number, GROUP_END)].concat(),
            FIXED32 => (value as u32).to_le_bytes().to_vec(),
            _ => content,
        };
        [key(number, kind), tail].concat()
    })
}

fn bytes(field: u32, content: &[u8]) -> Vec<u8> {
    [
        key(field, BYTES),
        varint(content.len() as u64),
        content.to_vec(),
    ]
    .concat()
}

fn key(field: u32, kind: u32) -> Vec<u8> {
    varint(u64::from(field) << 3 | u64::from(kind))
}

fn varint(number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(number, &mut out);
    out
}
