//! How a connection finds out that the other side is gone: the keepalives* parameters and tcp_user_timeout.

use super::{ConnInfoError, number};
use host::net::Keepalive;
use std::time::Duration;

/// How a TCP connection finds out that the other side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// None: it is never asked whether it is there.
    pub keepalive: Option<Keepalive>,
    /// How long what was sent may stay unacknowledged; None is the system's own limit.
    pub user_timeout: Option<Duration>,
}

/// The keepalives* parameters and tcp_user_timeout; as in libpq 0 is the system's own value.
pub(super) fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Silence, ConnInfoError> {
    let given = |option: &'static str| {
        let Some(text) = get(option) else { return Ok(None) };
        let number = number::<i32>(&text).ok();
        let number = number.filter(|number| *number >= 0 || !option.starts_with("keepalives_"));
        number.map(Some).ok_or(ConnInfoError::BadValue { option, value: text })
    };
    let above_zero = |option| {
        let number = given(option)?.and_then(|number| u32::try_from(number).ok());
        Ok(number.filter(|number| *number > 0))
    };
    let seconds = |option| Ok(above_zero(option)?.map(|given| Duration::from_secs(given.into())));
    // The others are not even looked at then, as in libpq.
    let keepalive = match given("keepalives")? {
        Some(0) => None,
        _ => Some(Keepalive {
            idle: seconds("keepalives_idle")?,
            interval: seconds("keepalives_interval")?,
            probes: above_zero("keepalives_count")?,
        }),
    };
    let millis = above_zero("tcp_user_timeout")?;
    Ok(Silence { keepalive, user_timeout: millis.map(|given| Duration::from_millis(given.into())) })
}

#[cfg(test)]
mod tests {
    use super::super::ConnInfo;
    use super::*;

    fn silence(text: &str) -> Silence {
        ConnInfo::parse_with(text, |_| None).unwrap().silence
    }

    #[test]
    fn a_silent_server_is_asked_unless_keepalives_are_off() {
        let asked = silence("host=a keepalives_idle=10 keepalives_interval=5 keepalives_count=3");
        let (idle, interval) = (Some(Duration::from_secs(10)), Some(Duration::from_secs(5)));
        assert_eq!(asked.keepalive, Some(Keepalive { idle, interval, probes: Some(3) }));
        let plain = silence("host=a keepalives_idle=0 tcp_user_timeout=1500");
        assert_eq!(plain.keepalive, Some(Keepalive::default()));
        assert_eq!(plain.user_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(silence("host=a keepalives=0 keepalives_idle=x").keepalive, None);
    }
}
