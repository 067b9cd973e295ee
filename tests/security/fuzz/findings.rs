//! Defects that fuzzing found, one test for each.

use super::checks;

/// The start of every push: herd, sender and both incarnations.
const HEADER: &[u8] = b"\n\x04test\x12\x06Jaquez\x19\x0b\0\0\0\0\0\0\0!\x07\0\0\0\0\0\0\0";

/// A report without its length.
const REPORT: &[u8] = b"\n\x01a\x12\x04+1+1\x1a\x011\"\x05Riley";

fn push_with_report(report: &[u8]) -> Vec<u8> {
    [HEADER, &[b':', report.len() as u8], report].concat()
}

#[test]
fn a_field_number_beyond_29_bits_is_rejected() {
    let key = b"\x80\x80\x80\x80\x10\0";
    checks::push::check(&[HEADER, key].concat());
    checks::push::check(&push_with_report(&[REPORT, key].concat()));
}

#[test]
fn an_unknown_group_is_skipped_and_a_broken_one_rejected() {
    for group in [
        &b"\x83\x01\x84\x01"[..],
        b"\x83\x01\x08\x05\x12\x02hi\x93\x01\x94\x01\x84\x01",
    ] {
        checks::push::check(&[HEADER, group].concat());
        checks::push::check(&push_with_report(&[REPORT, group].concat()));
    }
    // A group without an end, with the end of another, and an end alone.
    for broken in [&b"\x83\x01"[..], b"\x83\x01\x8c\x01", b"\x84\x01"] {
        checks::push::check(&[HEADER, broken].concat());
    }
}

#[test]
fn a_string_that_is_not_utf_8_is_rejected_even_if_a_valid_one_follows() {
    checks::push::check(&push_with_report(&[b"\n\x01\xff", REPORT].concat()));
}

#[test]
fn deeply_nested_groups_do_not_overflow_the_stack() {
    let deep = [
        &b"\x83\x01".repeat(100_000)[..],
        &b"\x84\x01".repeat(100_000),
    ]
    .concat();
    checks::push::check(&[HEADER, &deep].concat());
}

#[test]
fn a_checksum_of_another_type_is_rejected() {
    for check in [&b"E\x01\x02\x03\x04"[..], b"@\0", b"B\0", b"C\x44"] {
        checks::push::check(&[HEADER, check].concat());
        checks::push::check(&[HEADER, check, &[b':', REPORT.len() as u8], REPORT].concat());
    }
}
