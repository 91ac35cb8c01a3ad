//! Loads the kernel modules that the image carries.

use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use super::error::InitError;

/// Where the image has them, with their order in `order`, one name on a line.
const MODULES: &str = "/modules";

/// Loads all modules in the image's order.
pub(super) fn load_all() -> Result<(), InitError> {
    let list = format!("{MODULES}/order");
    let order = fs::read_to_string(&list).map_err(InitError::system(format!("read {list}")))?;
    order.lines().try_for_each(load)
}

fn load(name: &str) -> Result<(), InitError> {
    let path = Path::new(MODULES).join(format!("{name}.ko"));
    let action = || format!("load the kernel module {name}");
    let file = File::open(path).map_err(InitError::system(action()))?;
    match finit_module(&file, c"", 0) {
        // The kernel has it built in.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(InitError::system(action())(error)),
    }
}
