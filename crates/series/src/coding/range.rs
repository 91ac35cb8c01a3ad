//! An adaptive binary range coder: what is likely costs a small part of a bit.
//!
//! The arithmetic is that of G. N. N. Martin, "Range encoding" (1979), for two symbols, with the carry kept back as
//! in LZMA's coder. Each [`Bit`] learns how likely it is to be set from those that it has seen: first by counting,
//! which suits chunks of a few hundred values, then by forgetting slowly.

use super::Malformed;

/// Probabilities are in 1/65536.
const ONE: u32 = 1 << 16;
/// No probability comes nearer than this to never or always.
const LEAST: u32 = 24;
/// What a bit has seen counts for so many at most.
const MEMORY: u32 = 60;
/// Below this the range is widened by a byte.
const NARROW: u32 = 1 << 24;

/// How likely it is that one certain bit is set, as learnt so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    set: u16,
    seen: u16,
}

impl Bit {
    /// Nothing is known yet.
    pub(super) const NEW: Self = Self {
        set: (ONE / 2) as u16,
        seen: 0,
    };

    fn learn(&mut self, is_set: bool) {
        let set = i64::from(self.set);
        let goal = if is_set { i64::from(ONE) } else { 0 };
        let reciprocal = RECIPROCALS.get(usize::from(self.seen)).copied();
        let step = ((goal - set) * reciprocal.unwrap_or(0)) >> 16;
        let most = i64::from(ONE - LEAST);
        self.set = (set + step).clamp(i64::from(LEAST), most) as u16;
        self.seen = (self.seen + 1).min(MEMORY as u16);
    }

    fn split(self, range: u32) -> u32 {
        (range >> 16) * u32::from(self.set)
    }
}

/// 65536 / (n + 1.6), by n that were seen: a little more trust in the first ones than Laplace's rule has.
#[expect(
    clippy::indexing_slicing,
    reason = "worked out while compiling, where running past the end is an error"
)]
const RECIPROCALS: [i64; MEMORY as usize + 1] = {
    let mut table = [0; MEMORY as usize + 1];
    let mut seen = 0;
    while seen < table.len() {
        table[seen] = 655_360 / (10 * seen as i64 + 16);
        seen += 1;
    }
    table
};

/// Writes bits.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u32,
    /// The newest byte whose value a carry may still change, and how many 0xff follow it.
    held: Option<u8>,
    ones: usize,
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            low: 0,
            range: u32::MAX,
            held: None,
            ones: 0,
            out: Vec::new(),
        }
    }

    /// Writes a bit by what its model expects, and teaches the model.
    pub(super) fn bit(&mut self, model: &mut Bit, is_set: bool) {
        let split = model.split(self.range);
        if is_set {
            self.range = split;
        } else {
            self.low += u64::from(split);
            self.range -= split;
        }
        model.learn(is_set);
        self.widen();
    }

    /// Writes the lowest `count` bits of a number, of which nothing is expected.
    pub(super) fn plain(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            let part = left.min(8);
            left -= part;
            let bits = (number >> left) & ((1 << part) - 1);
            self.range >>= part;
            self.low += u64::from(self.range) * bits;
            self.widen();
        }
    }

    fn widen(&mut self) {
        while self.range < NARROW {
            self.shift();
            self.range <<= 8;
        }
    }

    fn shift(&mut self) {
        let carry = self.low >> 32 != 0;
        if carry || self.low < 0xff00_0000 {
            if let Some(held) = self.held {
                self.out.push(held.wrapping_add(u8::from(carry)));
            }
            let ones = if carry { 0 } else { 0xff };
            self.out.extend(std::iter::repeat_n(ones, self.ones));
            self.ones = 0;
            self.held = Some((self.low >> 24) as u8);
        } else {
            self.ones += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes. Zeros at the end are left out: the decoder reads on with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // Of all numbers in the range, one that ends in as many zeros as can be.
        let last = self.low + u64::from(self.range) - 1;
        for zeros in (0..32).rev() {
            let rounded = (last >> zeros) << zeros;
            if rounded >= self.low {
                self.low = rounded;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

/// Reads the bits that an [`Encoder`] wrote, with the same models in the same order.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    rest: std::slice::Iter<'a, u8>,
    /// How many bytes were read past the end.
    past: u32,
    code: u32,
    range: u32,
}

/// Bytes that a decoder may read past the end: no more than the encoder leaves out and the decoder reads ahead
/// matter, so whoever reads many more reads something that was cut off.
const MOST_PAST: u32 = 1 << 16;

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            rest: bytes.iter(),
            past: 0,
            code: 0,
            range: u32::MAX,
        };
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | decoder.next();
        }
        decoder
    }

    fn next(&mut self) -> u32 {
        self.rest.next().map_or_else(
            || {
                self.past += 1;
                0
            },
            |byte| u32::from(*byte),
        )
    }

    pub(super) fn bit(&mut self, model: &mut Bit) -> Result<bool, Malformed> {
        let split = model.split(self.range);
        let is_set = self.code < split;
        if is_set {
            self.range = split;
        } else {
            self.code -= split;
            self.range -= split;
        }
        model.learn(is_set);
        self.widen()?;
        Ok(is_set)
    }

    pub(super) fn plain(&mut self, count: u32) -> Result<u64, Malformed> {
        let mut number = 0;
        let mut left = count;
        while left > 0 {
            let part = left.min(8);
            left -= part;
            self.range >>= part;
            let bits = self.code / self.range;
            if bits >> part != 0 {
                return Err(Malformed);
            }
            self.code -= bits * self.range;
            number = number << part | u64::from(bits);
            self.widen()?;
        }
        Ok(number)
    }

    fn widen(&mut self) -> Result<(), Malformed> {
        while self.range < NARROW {
            self.code = self.code << 8 | self.next();
            self.range <<= 8;
        }
        if self.past > MOST_PAST {
            return Err(Malformed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(bits in prop::collection::vec((any::<bool>(), 0u32..=64, any::<u64>()), 0..400)) {
            let mut models = [Bit::NEW; 2];
            let mut encoder = Encoder::new();
            for (bit, count, number) in &bits {
                encoder.bit(&mut models[usize::from(*count > 30)], *bit);
                encoder.plain(*number, *count);
            }
            let bytes = encoder.finish();
            let mut models = [Bit::NEW; 2];
            let mut decoder = Decoder::new(&bytes);
            for (bit, count, number) in &bits {
                prop_assert_eq!(decoder.bit(&mut models[usize::from(*count > 30)]), Ok(*bit));
                let mask = u64::MAX.checked_shr(64 - count).unwrap_or(0);
                prop_assert_eq!(decoder.plain(*count), Ok(number & mask));
            }
        }
    }

    #[test]
    fn what_is_always_the_same_costs_next_to_nothing() {
        let mut model = Bit::NEW;
        let mut encoder = Encoder::new();
        for _ in 0..3_600 {
            encoder.bit(&mut model, true);
        }
        assert!(encoder.finish().len() <= 4);
    }
}
