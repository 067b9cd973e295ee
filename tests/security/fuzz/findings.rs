//! What fuzzing found, each by what was wrong.

use super::checks;

/// What every push begins with: who sends it to whom.
const HEADER: &[u8] = b"\n\x04test\x12\x06Jaquez\x19\x0b\0\0\0\0\0\0\0!\x07\0\0\0\0\0\0\0";

/// A report without its length.
const REPORT: &[u8] = b"\n\x01a\x12\x04+1+1\x1a\x011\"\x05Riley";

fn push_with_report(report: &[u8]) -> Vec<u8> {
    [HEADER, &[b':', report.len() as u8], report].concat()
}

#[test]
fn a_field_number_past_29_bits_was_taken() {
    let key = b"\x80\x80\x80\x80\x10\0";
    checks::push::check(&[HEADER, key].concat());
    checks::push::check(&push_with_report(&[REPORT, key].concat()));
}

#[test]
fn a_group_of_a_later_version_was_refused_and_not_skipped() {
    for group in [
        &b"\x83\x01\x84\x01"[..],
        b"\x83\x01\x08\x05\x12\x02hi\x93\x01\x94\x01\x84\x01",
    ] {
        checks::push::check(&[HEADER, group].concat());
        checks::push::check(&push_with_report(&[REPORT, group].concat()));
    }
    // Without its end, with another's, and an end alone.
    for broken in [&b"\x83\x01"[..], b"\x83\x01\x8c\x01", b"\x84\x01"] {
        checks::push::check(&[HEADER, broken].concat());
    }
}

#[test]
fn a_text_that_is_no_utf_8_was_taken_where_another_came_behind_it() {
    checks::push::check(&push_with_report(&[b"\n\x01\xff", REPORT].concat()));
}

#[test]
fn groups_within_groups_end_the_reading_before_they_end_the_stack() {
    let deep = [
        &b"\x83\x01".repeat(100_000)[..],
        &b"\x84\x01".repeat(100_000),
    ]
    .concat();
    checks::push::check(&[HEADER, &deep].concat());
}
