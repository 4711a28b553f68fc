//! Functions about the files of the log.

use super::{Asked, Function, Returns, no_defaults, one, refuse, text};
use crate::log::Format;
use protocol::{Report, SqlState};
use sql_interface::{NodeCall, SettingActor, SqlError};
use sql_types::{Datum, TypeId};

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_current_logfile",
        about: "The file into which the log goes now; NULL without logging_collector.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: false,
        returns: Returns::One(TypeId::Text),
        call: current_logfile,
    },
    Function {
        name: "pg_current_logfile",
        about: "The same of a form of log_destination.",
        arguments: &[("format", TypeId::Text)],
        required: 1,
        defaults: no_defaults,
        strict: false,
        returns: Returns::One(TypeId::Text),
        call: current_logfile,
    },
    Function {
        name: "pg_rotate_logfile",
        about: "Has the log go on in a new file; false without logging_collector.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: |asked, _, _| rotate_logfile(asked),
    },
];

fn current_logfile(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    let format = match arguments.first().and_then(Datum::as_str) {
        None => None,
        Some(word) => match Format::of_word(word).filter(|format| format.word() == word) {
            Some(format) => Some(format),
            None => {
                let what = format!("log format \"{word}\" is not supported");
                let hint = "The supported log formats are \"stderr\", \"csvlog\", and \"jsonlog\".";
                return refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what).with_hint(hint));
            }
        },
    };
    one(text(asked.ground.log.current_file(format)))
}

fn rotate_logfile(asked: &Asked<'_>) -> NodeCall {
    let rotates = asked.ground.log.rotate();
    if !rotates {
        let what = "rotation not possible because log collection not active";
        asked.handle.warn(Report::warning(SqlState::WARNING, what));
    }
    one(Datum::Bool(rotates))
}
