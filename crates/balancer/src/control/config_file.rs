//! The configuration that runs, kept for the process that comes after this one.

use std::io::Write;
use std::path::Path;

use model::BalancerConfig;

/// Reads the configuration that was kept; nothing when there is none.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn load(path: &Path) -> std::io::Result<Option<BalancerConfig>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the configuration. A reader sees the old or the new one, whole.
///
/// # Errors
/// When it cannot be written; the old one is still there.
pub fn save(path: &Path, config: &BalancerConfig) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec(config)?)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}
