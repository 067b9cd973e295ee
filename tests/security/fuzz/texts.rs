//! Fuzz inputs of lines, numbers and configs.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::{RegexGeneratorStrategy, string_regex};

use super::inputs::{Input, change, changes, noise, seed};

/// Pieces of lines.
const LINE_PIECES: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\n\r",
    "\r\r\n",
    " ",
    "\t",
    "\u{b}",
    "\u{c}",
    "\u{a0}",
    "IAMAT",
    "WHATSAT",
    "AT",
    "+",
    "-",
    ".",
    "/",
    "0",
    "9",
    "90",
    "180",
    "50",
    "20",
    "1621464827.959498503",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "é",
    "\0",
    "\u{661}",
    "00000000000000000000000000000000",
    "1e1",
];

/// Pieces that are meaningful in TOML or in a herd's config.
const CONFIG_PIECES: &[&str] = &[
    "[",
    "]",
    "[[servers]]\n",
    "[log]\n",
    "[limits]\n",
    "=",
    "\"",
    "'''",
    "\"\"\"",
    "{",
    "}",
    ",",
    "\n",
    "# ",
    ".",
    "-1",
    "0",
    "1e9",
    "0x10",
    "1_0",
    "true",
    "\"Riley\"",
    "\"riley\"",
    "nan",
    "\"0.0.0.0:13000\"",
    "\"[::1]:1\"",
    "99999999999999999999",
    "\"1day\"",
    "\"1h 1h\"",
    "talks_to = ",
    "name = ",
    "bind_peers = ",
    "web = ",
    "bind_web = ",
    "1979-05-27",
    "é",
    "\0",
    "\r",
    "\\u0000",
    "\u{feff}",
];

/// Generates the bytes of a connection.
pub(crate) fn streams() -> impl Strategy<Value = Input> {
    let few = prop::collection::vec(select(b"ab\r\n".to_vec()), 0..80);
    let long = (0..5000_usize, select(vec!["\n", "\r\n", "\r", ""]))
        .prop_map(|(length, end)| ["x".repeat(length).as_bytes(), end.as_bytes()].concat());
    let many = prop::collection::vec(long, 0..4).prop_map(|lines| lines.concat());
    let bytes = prop_oneof![
        4 => few,
        4 => seed("lines"),
        1 => many,
        1 => noise(200),
    ];
    (bytes, changes(LINE_PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}

/// Generates lines that are commands, or nearly.
pub(crate) fn commands() -> impl Strategy<Value = Input> {
    let iamat = (client(), position(), time());
    let iamat = iamat.prop_map(|(client, position, time)| ["IAMAT".into(), client, position, time]);
    let whatsat = (client(), decimal(), decimal());
    let whatsat =
        whatsat.prop_map(|(client, radius, most)| ["WHATSAT".into(), client, radius, most]);
    let gap = || "[ \t\r\n\x0b\x0c]{1,3}";
    let gaps = ["[ \r]?", gap(), gap(), gap(), "[ \r\u{c}]?"].map(like);
    let command = (prop_oneof![iamat, whatsat], gaps).prop_map(|(fields, gaps)| {
        let mut line = String::new();
        for (gap, field) in gaps.iter().zip(&fields) {
            line += gap;
            line += field;
        }
        (line + &gaps[4]).into_bytes()
    });
    let bytes = prop_oneof![
        6 => command,
        2 => seed("command"),
        1 => noise(100),
    ];
    (bytes, changes(LINE_PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}

/// Generates a clock or a bound, followed by a text that may be a number.
pub(crate) fn numbers() -> impl Strategy<Value = Input> {
    let near = select(vec![
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        1_621_464_828_000_000_000,
    ]);
    let clock = prop_oneof![
        (near, -2..3_i64).prop_map(|(near, by)| near.wrapping_add(by)),
        any::<i64>(),
        any::<i64>().prop_map(|clock| clock >> 20),
    ];
    let text = prop_oneof![time(), position(), decimal()];
    let bytes = (clock, text)
        .prop_map(|(clock, text)| [&clock.to_le_bytes()[..], text.as_bytes()].concat());
    let bytes = prop_oneof![4 => bytes, 1 => seed("numbers")];
    (bytes, changes(LINE_PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}

/// Returns a generator of texts that match a regular expression. It is slow to create.
fn like(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).expect("a regular expression")
}

fn client() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => like("[a-zа-я.\u{a0}\0]{1,5}"),
        1 => (253..258_usize).prop_map(|length| "k".repeat(length)),
    ]
}

fn position() -> impl Strategy<Value = String> {
    let coordinate =
        || (select(vec!["+", "-"]), decimal()).prop_map(|(sign, digits)| sign.to_owned() + &digits);
    let end = select(vec!["", "", "/"]);
    (coordinate(), coordinate(), end)
        .prop_map(|(latitude, longitude, end)| latitude + &longitude + end)
}

fn time() -> impl Strategy<Value = String> {
    let seconds = prop_oneof![
        4 => like("[0-9]{1,11}"),
        1 => like("922337203685477580[0-9]"),
        1 => like("0{0,24}[0-9]{1,10}"),
    ];
    (
        seconds,
        prop_oneof![Just(String::new()), like("\\.[0-9]{1,19}")],
    )
        .prop_map(|(seconds, fraction)| seconds + &fraction)
}

fn decimal() -> impl Strategy<Value = String> {
    let whole = prop_oneof![
        4 => select(vec!["0", "1", "19", "20", "21", "49", "50", "51", "89", "90", "91", "179", "180"])
            .prop_map(str::to_owned),
        1 => like("[0-9]{1,4}"),
        1 => like("0{0,30}(20|50|90|180)"),
        1 => like("1844674407370955161[0-9]"),
    ];
    let fraction = prop_oneof![
        3 => Just(String::new()),
        2 => like("\\.0{1,28}[01]?"),
        1 => like("\\.[0-9]{1,28}"),
    ];
    (whole, fraction).prop_map(|(whole, fraction)| whole + &fraction)
}

/// Generates configs, some with default settings uncommented.
pub(crate) fn configs() -> impl Strategy<Value = Input> {
    let text = (seed("config"), any::<u64>()).prop_map(|(text, coins)| {
        let text = String::from_utf8(text).unwrap();
        let line = |(i, line): (usize, &str)| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") && coins >> (i % 64) & 1 == 1 => {
                setting.to_owned()
            }
            _ => line.to_owned(),
        };
        text.lines()
            .enumerate()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes()
    });
    let heap = prop::collection::vec(select(CONFIG_PIECES), 0..40)
        .prop_map(|pieces| pieces.concat().into_bytes());
    let bytes = prop_oneof![
        6 => text,
        1 => heap,
        1 => like("(?s).{0,200}").prop_map(String::into_bytes),
    ];
    (bytes, changes(CONFIG_PIECES)).prop_map(|(bytes, changes)| change(bytes, changes))
}
