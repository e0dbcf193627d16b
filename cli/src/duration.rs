//! Spans of time on the command line: `500ms`, `30s`, `5m`, `2h`; a number alone is seconds.

use std::time::Duration;

/// Reads a span.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no span of time: use 500ms, 30s, 5m or 2h");
    let value: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => value / 1000.0,
        "" | "s" => value,
        "m" => value * 60.0,
        "h" => value * 3600.0,
        _ => return Err(wrong()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if !span.is_zero() && seconds <= 366.0 * 86_400.0 => Ok(span),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let millis = |text| parse(text).ok().map(|span| span.as_millis());
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("30"), Some(30_000));
        assert_eq!(millis("1.5m"), Some(90_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("2h"), Some(7_200_000));
        for bad in ["", "s", "-1s", "0s", "5 s", "5d", "1e9h", "NaN", "inf"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
