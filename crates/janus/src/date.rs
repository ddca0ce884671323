//! Times as texts.

use voex_base::{WallTime, civil};

/// Writes a time as `2026-11-23T15:34:34+0000`.
pub(crate) fn date(wall: WallTime) -> String {
    let seconds = wall.unix_s();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+0000")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| date(WallTime::from_unix(Duration::from_secs(seconds)));
        assert_eq!(at(0), "1970-01-01T00:00:00+0000");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59+0000");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00+0000");
        assert_eq!(at(1_795_448_074), "2026-11-23T15:34:34+0000");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00+0000");
    }
}
