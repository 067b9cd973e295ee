//! Unsigned decimal numbers, compared digit by digit.
//!
//! As a float, 90.00000000000000000001 would equal 90. Comparisons here are exact for any number of
//! digits.

use std::cmp::Ordering;

/// Number of digits that always fit in 64 bits.
const U64_SAFE_DIGITS: usize = 19;

fn value(digit: &u8) -> u64 {
    u64::from(digit - b'0')
}

/// Returns the value of at most [`U64_SAFE_DIGITS`] digits.
pub(super) fn number(digits: &[u8]) -> u64 {
    let add = |number, digit| number * 10 + value(digit);
    digits.iter().fold(0, add)
}

/// A decimal number without a sign: digits, optionally followed by a point and more digits. It
/// borrows the text that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Parses `digits` or `digits.digits`, ASCII digits only. Returns `None` for anything else
    /// (`.5`, `5.`, an empty text, signs, exponents).
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let end_of_digits = |text: &[u8]| text.iter().position(|byte| !byte.is_ascii_digit());
        let Some(point) = end_of_digits(text) else {
            let (whole, fraction) = text.split_at(text.len());
            return (!whole.is_empty()).then_some(Self { whole, fraction });
        };
        let (whole, rest) = text.split_at(point);
        let fraction = rest.strip_prefix(b".")?;
        let is_one = !whole.is_empty() && !fraction.is_empty() && end_of_digits(fraction).is_none();
        is_one.then_some(Self { whole, fraction })
    }

    /// Returns the digits before the point; at least one.
    pub fn whole(self) -> &'a [u8] {
        self.whole
    }

    /// Returns the digits after the point; empty if there is no point.
    pub fn fraction(self) -> &'a [u8] {
        self.fraction
    }

    /// Returns the digits before the point as a number; `None` if it does not fit in 64 bits.
    pub fn whole_number(self) -> Option<u64> {
        let sure = self.whole.len().min(U64_SAFE_DIGITS);
        let (sure, rest) = self.whole.split_at(sure);
        rest.iter().try_fold(number(sure), |number, digit| {
            number.checked_mul(10)?.checked_add(value(digit))
        })
    }

    /// Returns whether the number is at most `bound`, exactly.
    pub fn at_most(self, bound: u64) -> bool {
        // A number that does not fit in 64 bits is greater than every bound.
        match self.whole_number().map(|whole| whole.cmp(&bound)) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => self.fraction.iter().all(|&digit| digit == b'0'),
            Some(Ordering::Greater) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_digits_with_at_most_one_inner_point() {
        for good in ["0", "007", "1.0", "0.000", "50.5"] {
            assert!(Decimal::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "", ".", "1.", ".1", "1.2.3", "+1", "-1", "1e3", "1,0", "٣", " 1",
        ] {
            assert!(Decimal::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_exact() {
        let at_most_90 = |text: &str| Decimal::parse(text.as_bytes()).unwrap().at_most(90);
        assert!(at_most_90("90"));
        assert!(at_most_90("00000000000000000000000000090.000"));
        assert!(at_most_90("89.99999999999999999999999999"));
        assert!(!at_most_90("90.00000000000000000000000001"));
        assert!(!at_most_90("18446744073709551616"));
        assert!(!at_most_90("99999999999999999999999999999999999999999999"));
    }
}
