use proptest::prelude::*;

use super::*;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn round_trip(values: &[f64], effort: Effort) -> (usize, Vec<f64>) {
    let mut out = Vec::new();
    put_column(&mut out, values, effort);
    let read = column(&mut Reader::new(&out), values.len()).unwrap();
    (out.len(), read)
}

/// Figures of every kind that a form is made for, and any bit pattern.
fn figures() -> impl Strategy<Value = Vec<f64>> {
    let kind = prop_oneof![
        any::<u64>().prop_map(f64::from_bits).boxed(),
        any::<i64>().prop_map(|n| n as f64).boxed(),
        (0i64..1_000).prop_map(|n| n as f64 * 4096.0).boxed(),
        (-1_000i64..1_000).prop_map(|n| n as f64 / 100.0).boxed(),
        (0i64..=100, 95i64..105, -2i64..=2)
            .prop_map(|(n, d, ulp)| {
                let exact = (100.0 * n as f64 / d as f64).to_bits() as i64;
                f64::from_bits(exact.wrapping_add(ulp) as u64)
            })
            .boxed(),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::MIN,
            f64::MAX,
            5e-324
        ])
        .boxed(),
    ];
    let kind = kind.boxed();
    (0usize..6).prop_flat_map(move |_| prop::collection::vec(kind.clone(), 1..200))
}

proptest! {
    #[test]
    fn every_bit_of_every_number_comes_back(values in figures()) {
        for effort in [Effort::Little, Effort::Most] {
            prop_assert_eq!(bits(&round_trip(&values, effort).1), bits(&values));
        }
    }

    #[test]
    fn damaged_bytes_make_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), form in 0u8..6) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = form;
        }
        let _ = column(&mut Reader::new(&bytes), 600);
    }
}

#[test]
fn each_kind_of_figure_has_a_form_that_suits_it() {
    let hour = |figure: fn(u64) -> f64| (0..600).map(figure).collect::<Vec<_>>();
    // A generator of its own, so that the figures are the same everywhere.
    let noise = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 1_000;
    assert_eq!(noise(1), noise(1));
    for (what, values, most) in [
        ("constant", hour(|_| 12.5), 0.02),
        ("count that rises evenly", hour(|i| (i * 17) as f64), 0.05),
        ("pages", hour(|i| ((i * i % 7) * 4096) as f64), 0.5),
        ("one decimal", hour(|i| (i % 10) as f64 / 10.0), 0.6),
    ] {
        let (bytes, read) = round_trip(&values, Effort::Most);
        assert_eq!(bits(&read), bits(&values), "{what}");
        assert!(
            (bytes as f64) < most * 600.0,
            "{what}: {bytes} bytes for 600"
        );
    }
}
