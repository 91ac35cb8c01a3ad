//! Drawing at random by weight, in constant time.
//!
//! Source: the alias method (Walker, 1977), with the table built as by Vose ("A linear algorithm for
//! generating random numbers with a given distribution", 1991). Deviation: whole numbers instead of
//! fractions, and one random number for both the column and the coin.

/// A table to draw from.
#[derive(Clone, Debug)]
pub struct WeightedDraw {
    columns: Vec<Column>,
}

/// As likely as any other column. The coin says which of two positions it stands for.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// Coins below this, of all of `u64`, stand for the column's own position.
    threshold: u64,
    other: u32,
}

impl WeightedDraw {
    /// `weights` are the chances of the positions in relation to each other.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        if total == 0 {
            return Self {
                columns: Vec::new(),
            };
        }
        // Each column holds `total` parts, and each position has `weight * columns` of them to give away.
        let count = weights.len() as u64;
        let mut parts: Vec<u64> = weights.iter().map(|&w| u64::from(w) * count).collect();
        let mut columns: Vec<_> = (0u32..)
            .zip(weights)
            .map(|(position, _)| Column {
                threshold: u64::MAX,
                other: position,
            })
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..parts.len()).partition(|&position| parts.get(position) < Some(&total));
        while let (Some(&giver), Some(taker)) = (large.last(), small.pop()) {
            let own = parts.get(taker).copied().unwrap_or(0);
            if let Some(column) = columns.get_mut(taker) {
                column.threshold = threshold(own, total);
                column.other = u32::try_from(giver).unwrap_or(0);
            }
            if let Some(rest) = parts.get_mut(giver) {
                *rest -= total - own;
                if *rest < total {
                    large.pop();
                    small.push(giver);
                }
            }
        }
        Self { columns }
    }

    /// Draws a position; `random` is uniform over all of `u64`. Nothing when no position has a chance.
    #[must_use]
    pub fn draw(&self, random: u64) -> Option<usize> {
        let product = u128::from(random) * self.columns.len() as u128;
        let position = (product >> 64) as usize;
        let coin = product as u64;
        let column = self.columns.get(position)?;
        Some(if coin < column.threshold {
            position
        } else {
            column.other as usize
        })
    }
}

/// The share `part / whole` of all of `u64`.
fn threshold(part: u64, whole: u64) -> u64 {
    let share = (u128::from(part) << 64) / u128::from(whole);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_drawn_where_nothing_has_a_chance() {
        assert_eq!(WeightedDraw::new(&[]).draw(7), None);
        assert_eq!(WeightedDraw::new(&[0, 0]).draw(7), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn each_position_is_drawn_as_often_as_its_weight_says(
            weights in proptest::collection::vec(0u32..=256, 1..20),
            seed in any::<u64>(),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let (draw, mut random) = (WeightedDraw::new(&weights), Random::new(seed));
            let (count, mut drawn) = (40_000, vec![0u32; weights.len()]);
            for _ in 0..count {
                drawn[draw.draw(random.next_u64()).unwrap()] += 1;
            }
            for (&drawn, &weight) in drawn.iter().zip(&weights) {
                let (share, due) = (f64::from(drawn) / f64::from(count), f64::from(weight) / f64::from(total));
                prop_assert!((share - due).abs() < 0.015, "{share} for {due}");
                prop_assert!(weight > 0 || drawn == 0);
            }
        }
    }
}
