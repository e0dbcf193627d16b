//! Spans of time and moments on the command line: read and written with `humantime`.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999: a date has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

/// Reads a span: `500ms`, `30s`, `5m`, `2h`; a number alone is seconds.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time: use 500ms, 30s, 5m or 2h");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    // humantime reads more units, and sums of them; months and `5 s` beside `5m` would be read by mistake.
    let unit = match unit {
        "" => "s",
        "ms" | "s" | "m" | "h" => unit,
        _ => return Err(wrong()),
    };
    let span = humantime::parse_duration(&format!("{number}{unit}")).map_err(|_| wrong())?;
    match !span.is_zero() && span <= Duration::from_secs(366 * 86_400) {
        true => Ok(span),
        false => Err(wrong()),
    }
}

/// Reads a moment: `2026-11-01`, `2026-11-01T10:00:00Z`, or seconds since 1970.
pub(crate) fn parse_moment(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let moment = humantime::parse_rfc3339(&whole).ok();
    let since = moment.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    since.map(|since| since.as_secs()).ok_or_else(|| {
        format!(
            "{text:?} is no moment: use 2026-11-01, 2026-11-01T10:00:00Z, or seconds since 1970"
        )
    })
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`. They may come from a token that is not verified, so any number is taken.
pub(crate) fn utc(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(moment) if seconds <= LAST_SECOND => {
            humantime::format_rfc3339_seconds(moment).to_string()
        }
        _ => format!("{seconds} s after 1970"),
    }
}

/// A span for people: `3 h 12 min`, `45 s`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        assert_eq!(utc(LAST_SECOND), "9999-12-31T23:59:59Z");
        assert_eq!(utc(LAST_SECOND + 1), "253402300800 s after 1970");
        assert_eq!(utc(u64::MAX), "18446744073709551615 s after 1970");
    }

    #[test]
    fn spans_on_the_command_line() {
        let millis = |text| parse_span(text).ok().map(|span| span.as_millis());
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("30"), Some(30_000));
        assert_eq!(millis("1.5m"), Some(90_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("2h"), Some(7_200_000));
        assert_eq!(millis("8784h"), Some(366 * 86_400_000));
        for bad in [
            "", "s", "-1s", "0s", "5 s", "5d", "5M", "1h30m", "8785h", "1e9h", "NaN", "inf",
            "1.2.3s",
        ] {
            assert!(parse_span(bad).unwrap_err().contains("is no span of time"), "{bad}");
        }
    }

    #[test]
    fn spans_for_people() {
        assert_eq!(span(45), "45 s");
        assert_eq!(span(3725), "62 min 5 s");
        assert_eq!(span(10_000), "2 h 46 min");
        assert_eq!(span(864_000), "10 days");
    }
}
