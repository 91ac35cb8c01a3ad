//! Driver `qemu`: a microVM from the image.

mod arguments;
mod begin;
mod clock;
mod loose_end;
mod machine;
mod qmp;
mod reset;

pub(crate) use arguments::{Disk, Memory, Nic, Plan};
pub(crate) use begin::begin;
pub(crate) use clock::measure_tsc_khz;
pub(crate) use machine::{Machine, find_program, make_disk, version};
pub(crate) use qmp::{Event, Qmp, QmpError};
pub(crate) use reset::follow;
