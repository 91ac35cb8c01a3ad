//! Numbers by the range coder: their length in bits is learnt, and so are the two bits after the first.

use super::Malformed;
use super::range::{Bit, Decoder, Encoder};

/// A symbol out of a few, by a binary tree of learnt bits.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    depth: u32,
    nodes: Vec<Bit>,
}

impl Symbol {
    /// For symbols up to `highest`.
    pub(super) fn up_to(highest: u32) -> Self {
        let depth = u32::BITS - highest.leading_zeros();
        Self {
            depth,
            nodes: vec![Bit::NEW; 1 << depth],
        }
    }

    pub(super) fn encode(&mut self, to: &mut Encoder, symbol: u32) {
        let mut node = 1;
        for level in (0..self.depth).rev() {
            let is_set = symbol >> level & 1 == 1;
            if let Some(bit) = self.nodes.get_mut(node) {
                to.bit(bit, is_set);
            }
            node = node << 1 | usize::from(is_set);
        }
    }

    pub(super) fn decode(&mut self, from: &mut Decoder) -> Result<u32, Malformed> {
        let mut node = 1;
        for _ in 0..self.depth {
            let bit = self.nodes.get_mut(node).ok_or(Malformed)?;
            node = node << 1 | usize::from(from.bit(bit)?);
        }
        Ok((node - (1 << self.depth)) as u32)
    }
}

/// Bits after a number's first that are learnt; those after them are as good as random.
const LEARNT: u32 = 2;
/// What the length of the number before was: none, short, middling, long.
const CONTEXTS: usize = 3;

/// Numbers of up to so many bits.
#[derive(Clone, Debug)]
pub(super) struct Number {
    longest: u32,
    lengths: Vec<Symbol>,
    heads: Vec<Symbol>,
    context: usize,
}

impl Number {
    /// For numbers of at most `longest` bits, 64 at most.
    pub(super) fn new(longest: u32) -> Self {
        Self {
            longest,
            lengths: vec![Symbol::up_to(longest); CONTEXTS],
            heads: vec![Symbol::up_to((1 << LEARNT) - 1); longest as usize + 1],
            context: 0,
        }
    }

    pub(super) fn encode(&mut self, to: &mut Encoder, number: u64) {
        let length = bits_of(number);
        if let Some(lengths) = self.lengths.get_mut(self.context) {
            lengths.encode(to, length);
        }
        self.context = context(length, self.longest);
        let below = length.saturating_sub(1);
        let head = below.min(LEARNT);
        if head == LEARNT
            && let Some(heads) = self.heads.get_mut(length as usize)
        {
            let symbol = (number >> (below - head)) & ((1 << LEARNT) - 1);
            heads.encode(to, symbol as u32);
            to.plain(number, below - head);
        } else {
            to.plain(number, below);
        }
    }

    pub(super) fn decode(&mut self, from: &mut Decoder) -> Result<u64, Malformed> {
        let lengths = self.lengths.get_mut(self.context).ok_or(Malformed)?;
        let length = lengths.decode(from)?;
        if length > self.longest {
            return Err(Malformed);
        }
        self.context = context(length, self.longest);
        let Some(below) = length.checked_sub(1) else {
            return Ok(0);
        };
        if below < LEARNT {
            return Ok(1 << below | from.plain(below)?);
        }
        let heads = self.heads.get_mut(length as usize).ok_or(Malformed)?;
        let head = u64::from(heads.decode(from)?);
        let rest = below - LEARNT;
        Ok(1 << below | head << rest | from.plain(rest)?)
    }
}

/// How many bits a number has: 0 for 0, 64 at most.
pub(super) fn bits_of(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

fn context(length: u32, longest: u32) -> usize {
    match length {
        0 => 0,
        _ if length * 2 <= longest => 1,
        _ => 2,
    }
}
