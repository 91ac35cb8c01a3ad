//! A column of numbers, in the form that takes the fewest bytes. Every bit of every number is kept.
//!
//! | form | for | after |
//! |---|---|---|
//! | same | what does not change | |
//! | whole | whole numbers, and decimals of up to six places; steps of any size count as one | ALP (Afroozeh et al., SIGMOD 2024), for the decimals |
//! | listed | few different values | |
//! | ticks | collectd's percentages: so many ticks of about so many, and what rounding made of that | |
//! | XOR | everything else | Gorilla (Pelkonen et al., VLDB 2015) |
//!
//! What remains of each number is written by the range coder, where Gorilla has fixed prefixes.

use super::Malformed;
use super::bytes::{Reader, put_bytes, put_varint, unzigzag, zigzag};
use super::chunk::Effort;
use super::number::{Number, Symbol, bits_of};
use super::range::{Decoder, Encoder};
use super::ticks;
use super::whole;

const SAME: u8 = 0;
const WHOLE: u8 = 1;
const LISTED: u8 = 2;
const TICKS: u8 = 3;
const XOR: u8 = 4;

/// So many different values are listed at most.
const MOST_LISTED: usize = 128;

/// Appends a column that is not empty.
pub(super) fn put_column(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    let Some(first) = values.first() else { return };
    if values
        .iter()
        .all(|value| value.to_bits() == first.to_bits())
    {
        out.push(SAME);
        put_varint(out, first.to_bits().reverse_bits());
        return;
    }
    let whole = whole::encode(values);
    let is_whole = whole.is_some();
    let mut forms = vec![(WHOLE, whole)];
    if effort == Effort::Most {
        forms.push((LISTED, encode_listed(values)));
    }
    if !is_whole {
        forms.push((TICKS, ticks::encode(values)));
    }
    if forms.iter().all(|(_, bytes)| bytes.is_none()) || (effort == Effort::Most && !is_whole) {
        forms.push((XOR, Some(encode_xor(values))));
    }
    let forms = forms
        .into_iter()
        .filter_map(|(form, bytes)| Some((form, bytes?)));
    let smallest = forms.min_by_key(|(_, bytes)| bytes.len());
    if let Some((form, bytes)) = smallest {
        out.push(form);
        put_bytes(out, &bytes);
    }
}

/// Reads a column of `count` numbers.
pub(super) fn column(from: &mut Reader, count: usize) -> Result<Vec<f64>, Malformed> {
    let form = from.byte()?;
    if form == SAME {
        let value = f64::from_bits(from.varint()?.reverse_bits());
        return Ok(vec![value; count]);
    }
    let bytes = from.bytes()?;
    match form {
        WHOLE => whole::decode(bytes, count),
        LISTED => decode_listed(bytes, count),
        TICKS => ticks::decode(bytes, count),
        XOR => decode_xor(bytes, count),
        _ => Err(Malformed),
    }
}

fn encode_listed(values: &[f64]) -> Option<Vec<u8>> {
    let mut listed: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    listed.sort_unstable();
    listed.dedup();
    if listed.len() > MOST_LISTED.min(values.len() / 2) {
        return None;
    }
    let mut out = Vec::new();
    put_varint(&mut out, listed.len() as u64);
    let mut before = 0;
    for bits in &listed {
        put_varint(&mut out, (bits ^ before).reverse_bits());
        before = *bits;
    }
    let mut encoder = Encoder::new();
    let mut model = Symbol::up_to(listed.len() as u32 - 1);
    for value in values {
        let at = listed.binary_search(&value.to_bits()).ok()?;
        model.encode(&mut encoder, at as u32);
    }
    out.extend(encoder.finish());
    Some(out)
}

fn decode_listed(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    let mut from = Reader::new(bytes);
    let length = from.length(MOST_LISTED)?;
    let mut before = 0;
    let mut listed = Vec::with_capacity(length);
    for _ in 0..length {
        before ^= from.varint()?.reverse_bits();
        listed.push(f64::from_bits(before));
    }
    let mut decoder = Decoder::new(from.rest());
    let mut model = Symbol::up_to((length as u32).checked_sub(1).ok_or(Malformed)?);
    (0..count)
        .map(|_| {
            let at = model.decode(&mut decoder)?;
            listed.get(at as usize).copied().ok_or(Malformed)
        })
        .collect()
}

fn encode_xor(values: &[f64]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut lengths = Symbol::up_to(64);
    let mut zeros = Symbol::up_to(63);
    let mut before = 0;
    for value in values {
        let bits = value.to_bits();
        let differs = bits ^ before;
        before = bits;
        let length = bits_of(differs);
        lengths.encode(&mut encoder, length);
        if length > 0 {
            let trailing = differs.trailing_zeros();
            zeros.encode(&mut encoder, trailing);
            // Its first and its last bit are set: those between remain.
            let between = (length - trailing).saturating_sub(2);
            encoder.plain(differs >> trailing >> 1, between);
        }
    }
    encoder.finish()
}

fn decode_xor(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let mut lengths = Symbol::up_to(64);
    let mut zeros = Symbol::up_to(63);
    let mut before = 0;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let length = lengths.decode(&mut decoder)?;
        if length > 64 {
            return Err(Malformed);
        }
        if length > 0 {
            let trailing = zeros.decode(&mut decoder)?;
            let wide = length
                .checked_sub(trailing)
                .filter(|wide| *wide > 0)
                .ok_or(Malformed)?;
            let between = wide.saturating_sub(2);
            let mut differs = decoder.plain(between)? << 1 | 1;
            differs |= 1 << (wide - 1);
            before ^= differs << trailing;
        }
        values.push(f64::from_bits(before));
    }
    Ok(values)
}

/// How many bits the longest of these numbers has.
pub(super) fn longest(numbers: impl Iterator<Item = u64>) -> u32 {
    numbers.map(bits_of).max().unwrap_or(0)
}

/// Appends whole numbers, each less what is expected of it: the one before, or none.
pub(super) fn put_signed_column(out: &mut Vec<u8>, numbers: &[i64]) {
    let mut last = 0i64;
    let rises: Vec<u64> = numbers
        .iter()
        .map(|number| zigzag(number.wrapping_sub(std::mem::replace(&mut last, *number))))
        .collect();
    let plain: Vec<u64> = numbers.iter().map(|number| zigzag(*number)).collect();
    let cost = |numbers: &[u64]| numbers.iter().map(|number| bits_of(*number)).sum::<u32>();
    let (by_rise, numbers) = if cost(&rises) < cost(&plain) {
        (1, rises)
    } else {
        (0, plain)
    };
    let bits = longest(numbers.iter().copied());
    out.push((bits << 1) as u8 | by_rise);
    let mut encoder = Encoder::new();
    let mut model = Number::new(bits);
    numbers
        .iter()
        .for_each(|number| model.encode(&mut encoder, *number));
    put_bytes(out, &encoder.finish());
}

/// Reads so many whole numbers.
pub(super) fn signed_column(from: &mut Reader, count: usize) -> Result<Vec<i64>, Malformed> {
    let head = from.byte()?;
    let (bits, by_rise) = (u32::from(head >> 1), head & 1 == 1);
    if bits > 64 {
        return Err(Malformed);
    }
    let mut decoder = Decoder::new(from.bytes()?);
    let mut model = Number::new(bits);
    let mut last = 0i64;
    (0..count)
        .map(|_| {
            let number = unzigzag(model.decode(&mut decoder)?);
            last = if by_rise {
                last.wrapping_add(number)
            } else {
                number
            };
            Ok(last)
        })
        .collect()
}

#[cfg(test)]
mod tests;
