//! Whole numbers and decimals: as counts of their common step, less what is expected of each.

use super::Malformed;
use super::bytes::{Reader, put_signed, put_varint, unzigzag, zigzag};
use super::column::longest;
use super::number::{Number, bits_of};
use super::range::{Decoder, Encoder};

/// Beyond this not every whole number is a float.
const MOST: f64 = 9_007_199_254_740_992.0;
/// By what decimals are multiplied to be whole.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// What is expected of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    /// That it is the one before.
    Same,
    /// That it goes on as from the last but one to the last.
    Onward,
    /// That it is the middle one of all.
    Middle(i64),
}

impl Expectation {
    fn of(self, before: [i64; 2]) -> i64 {
        let [last_but_one, last] = before;
        match self {
            Self::Same => last,
            Self::Onward => last.wrapping_add(last.wrapping_sub(last_but_one)),
            Self::Middle(middle) => middle,
        }
    }
}

/// `None` if they are not all whole, or decimals of the same few places.
pub(super) fn encode(values: &[f64]) -> Option<Vec<u8>> {
    let (places, numbers) = (0u8..)
        .zip(POWERS)
        .find_map(|(places, power)| Some((places, to_whole(values, power)?)))?;
    let first = *numbers.first()?;
    let step = numbers
        .iter()
        .fold(0, |step, number| divisor(step, number.abs_diff(first)))
        .max(1);
    let signed_step = step as i64;
    let steps: Vec<i64> = numbers
        .iter()
        .map(|number| (number - first) / signed_step)
        .collect();
    let mut sorted = steps.clone();
    let (_, middle, _) = sorted.select_nth_unstable(steps.len() / 2);
    let expectations = [
        Expectation::Same,
        Expectation::Onward,
        Expectation::Middle(*middle),
    ];
    let (expectation, residues) = expectations
        .map(|expectation| (expectation, residues(&steps, expectation)))
        .into_iter()
        .min_by_key(|(_, residues)| residues.iter().map(|n| bits_of(*n)).sum::<u32>())?;
    let bits = longest(residues.iter().copied());

    let mut out = Vec::new();
    let (kind, middle) = match expectation {
        Expectation::Same => (0, None),
        Expectation::Onward => (1, None),
        Expectation::Middle(middle) => (2, Some(middle)),
    };
    out.push(kind << 3 | places);
    put_signed(&mut out, first);
    put_varint(&mut out, step);
    if let Some(middle) = middle {
        put_signed(&mut out, middle);
    }
    out.push(bits as u8);
    let mut encoder = Encoder::new();
    let mut model = Number::new(bits);
    residues
        .iter()
        .for_each(|residue| model.encode(&mut encoder, *residue));
    out.extend(encoder.finish());
    Some(out)
}

pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    let mut from = Reader::new(bytes);
    let head = from.byte()?;
    let power = POWERS
        .get(usize::from(head & 7))
        .copied()
        .ok_or(Malformed)?;
    let first = from.signed()?;
    let step = from.varint()? as i64;
    let expectation = match head >> 3 {
        0 => Expectation::Same,
        1 => Expectation::Onward,
        2 => Expectation::Middle(from.signed()?),
        _ => return Err(Malformed),
    };
    let bits = u32::from(from.byte()?);
    if bits > 64 {
        return Err(Malformed);
    }
    let mut decoder = Decoder::new(from.rest());
    let mut model = Number::new(bits);
    let mut before = [0, 0];
    (0..count)
        .map(|_| {
            let residue = unzigzag(model.decode(&mut decoder)?);
            let steps = expectation.of(before).wrapping_add(residue);
            let [_, last] = before;
            before = [last, steps];
            let number = first.wrapping_add(steps.wrapping_mul(step));
            Ok(number as f64 / power)
        })
        .collect()
}

fn residues(steps: &[i64], expectation: Expectation) -> Vec<u64> {
    let mut before = [0, 0];
    let residue = |number: &i64| {
        let residue = number.wrapping_sub(expectation.of(before));
        let [_, last] = before;
        before = [last, *number];
        zigzag(residue)
    };
    steps.iter().map(residue).collect()
}

fn to_whole(values: &[f64], power: f64) -> Option<Vec<i64>> {
    let whole = |value: &f64| {
        let scaled = (value * power).round();
        let number = scaled as i64;
        let is_exact = scaled.abs() < MOST && (number as f64 / power).to_bits() == value.to_bits();
        is_exact.then_some(number)
    };
    values.iter().map(whole).collect()
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
