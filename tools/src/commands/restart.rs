//! `plimsoll restart`.

use super::{check_data_directory, start};
use crate::cli::RestartArgs;
use crate::output::{complain, say};
use crate::process::{options_of_last_start, running, stop};
use crate::programs::postgres;
use crate::serve;
use anyhow::{Context, Result};
use std::time::Duration;

/// Stops the server of a data directory and starts it with the options of its last start; gives the exit
/// code.
pub fn run(arguments: &RestartArgs) -> Result<u8> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    for text in &arguments.settings {
        postgres::setting(text)?;
    }
    let mut words = options_of_last_start(data);
    words.extend(arguments.settings.iter().flat_map(|text| ["-c".into(), text.into()]));
    if let Some(port) = arguments.port {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    match running(data) {
        Ok(_) => {
            serve::check_settings(data, &words)
                .context("the server was not stopped, because it would not start again")?;
            stop(data, arguments.mode, Some(Duration::from_secs(arguments.timeout)), || {})?;
            say!("server stopped");
        }
        Err(why) => complain!("plimsoll: warning: {why:#} It is started."),
    }
    start::detached(data, words, arguments.log.clone(), arguments.timeout)
}
