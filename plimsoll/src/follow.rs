//! Followers: a clone of a running server, which starts as its standby.

use crate::Result;
use basebackup::clone::CloneOptions;
use host::Host;
use std::path::Path;

/// Clones a running server into a folder that is missing or empty.
pub(crate) async fn clone(primary: &str, data_dir: &Path) -> Result<()> {
    basebackup::clone::clone(&Host::real(), &CloneOptions::new(primary, data_dir), &mut |_| {}).await?;
    Ok(())
}
