mod account;
mod closed_loop;
mod noise;
mod rules;

use model::VmId;

use super::figures::Lack;
use super::*;

/// Requests in a second that a VM is to take.
const TARGET: u32 = 100;
const WINDOW_MS: u64 = 300_000;

/// One instance's decisions over virtual time, from the sum of its load.
struct Scaler {
    scaling: Scaling,
    scale: ScaleLayout,
    now: Timestamp,
    /// When the number of VMs changed, and to how many.
    changes: Vec<(Timestamp, u32)>,
    /// How often something was to be stored.
    writes: usize,
}

impl Scaler {
    fn new(min: u32, max: u32) -> Self {
        Self {
            scaling: Scaling {
                min,
                max,
                target_requests: Some(TARGET),
                scale_in_window_ms: WINDOW_MS,
                ..Scaling::default()
            },
            scale: ScaleLayout::default(),
            now: Timestamp(1_000_000_000),
            changes: Vec::new(),
            writes: 0,
        }
    }

    /// A second passes, and all VMs are sampled. `load` is in VMs that would each carry the target.
    fn second(&mut self, load: f64) -> u32 {
        self.sample(load, None)
    }

    /// A second passes, and a VM has no figures.
    fn second_without_a_figure(&mut self, load: f64) -> u32 {
        let metric = model::Metric::Requests;
        self.sample(load, Some(Lack::Figures(VmId(1), metric)))
    }

    fn sample(&mut self, load: f64, lack: Option<Lack>) -> u32 {
        self.now.0 += 1_000;
        let figures = Figures::requests(load * f64::from(TARGET), TARGET, lack);
        let before = (self.vms(), self.scale.clone());
        decide_scale(&self.scaling, &figures, &mut self.scale, self.now);
        let settled = self.scale.clone();
        decide_scale(&self.scaling, &figures, &mut self.scale, self.now);
        assert_eq!(self.scale, settled, "deciding again changes nothing");
        self.assert_bounded();
        self.writes += usize::from(self.scale != before.1);
        let vms = self.vms();
        if vms != before.0 {
            self.changes.push((self.now, vms));
        }
        vms
    }

    fn seconds(&mut self, seconds: u64, load: f64) -> u32 {
        (0..seconds).for_each(|_| {
            self.second(load);
        });
        self.vms()
    }

    fn vms(&self) -> u32 {
        let Scaling { min, max, .. } = self.scaling;
        self.scale.wish.max(min).min(max)
    }

    /// The memory of a window is the sliding maximum's queue.
    fn assert_bounded(&self) {
        let peaks = &self.scale.peaks;
        let in_order = |pair: &[model::ScalePeak]| match pair {
            [older, newer] => older.vms > newer.vms && older.until <= newer.until,
            _ => true,
        };
        assert!(peaks.windows(2).all(in_order), "{peaks:?}");
        assert!(peaks.last().is_none_or(|peak| peak.vms > self.scale.enough));
    }
}
