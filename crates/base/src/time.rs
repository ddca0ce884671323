//! Three clocks are kept apart: monotonic time (`std::time::Instant`, always passed in as `now`), media time (RTP
//! timestamps at a codec's clock rate), and [`WallTime`], passed only where a protocol asks for it.

use std::time::Duration;

/// Time since 1970-01-01T00:00:00Z, as the operating system believes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WallTime(Duration);

/// Seconds between the NTP era (1900) and the Unix epoch (1970).
const NTP_OFFSET_S: u64 = 2_208_988_800;

impl WallTime {
    /// Makes a wall time from the time since the Unix epoch.
    pub const fn from_unix(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Gives the time since the Unix epoch.
    pub const fn since_unix(self) -> Duration {
        self.0
    }

    /// Gives whole seconds since the Unix epoch.
    pub const fn unix_s(self) -> u64 {
        self.0.as_secs()
    }

    /// Gives the 64-bit NTP timestamp of RTCP sender reports (RFC 3550 §4): seconds since 1900 and a 32-bit fraction.
    pub fn ntp(self) -> u64 {
        let seconds = self.0.as_secs().wrapping_add(NTP_OFFSET_S);
        let fraction = (u64::from(self.0.subsec_nanos()) << 32) / 1_000_000_000;
        (seconds << 32) | fraction
    }
}

impl std::ops::Add<Duration> for WallTime {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}

/// Gives year, month and day of a day since 1970-01-01, by the proleptic Gregorian calendar.
pub fn civil(day: u64) -> (u64, u64, u64) {
    // Eras of 400 years that begin in March.
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_fraction_of_half_a_second_is_the_top_bit() {
        let at = WallTime::from_unix(Duration::from_millis(1_500));
        assert_eq!(at.ntp(), ((NTP_OFFSET_S + 1) << 32) | 0x8000_0000);
    }
}
