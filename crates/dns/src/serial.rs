//! The order of SOA serials, which wrap round (RFC 1982).

use std::cmp::Ordering;

/// Compares two serials by RFC 1982, section 3.2, with SERIAL_BITS = 32: `a` is less than `b` when
/// fewer than 2^31 steps lead from `a` up to `b`.
///
/// `None` for the pairs that are exactly 2^31 apart, of which the RFC leaves the order undefined.
pub(crate) fn compare(a: u32, b: u32) -> Option<Ordering> {
    const HALF: u32 = 1 << 31;
    match b.wrapping_sub(a) {
        0 => Some(Ordering::Equal),
        HALF => None,
        1..HALF => Some(Ordering::Less),
        _ => Some(Ordering::Greater),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn serials_compare_as_the_rfc_says() {
        let table = [
            (0, 0, Some(Ordering::Equal)),
            (0, 1, Some(Ordering::Less)),
            (1, 0, Some(Ordering::Greater)),
            (u32::MAX, 0, Some(Ordering::Less)),
            (0, u32::MAX, Some(Ordering::Greater)),
            (0, (1 << 31) - 1, Some(Ordering::Less)),
            (0, 1 << 31, None),
            (0, (1 << 31) + 1, Some(Ordering::Greater)),
        ];
        for (a, b, expected) in table {
            assert_eq!(compare(a, b), expected, "{a} and {b}");
        }
    }

    proptest! {
        #[test]
        fn a_comparison_is_the_reverse_of_its_mirror(a: u32, b: u32) {
            prop_assert_eq!(compare(a, b), compare(b, a).map(Ordering::reverse));
        }
    }
}
