//! Secrets in a URL: URLs stand in logs of proxies and in histories, so a request with one is refused before anything of it
//! is looked at. Nothing of such a URL is logged.

/// Beginnings of tokens, in small letters.
const PREFIXES: [&str; 3] = ["tsr_op_", "tsr_pat_", "tsr_prt_"];
/// Characters behind it from which on a text is a token, and no name that begins like one.
const TOKEN_CHARS: usize = 40;
/// The form of a claim code, in small letters: groups of five behind `tsr`.
const CODE: (&str, usize, usize) = ("tsr", 4, 5);
/// Query parameters that are meant for secrets (RFC 6750 section 2.3), and are none of ours.
const PARAMETERS: [&str; 5] = ["access_token", "refresh_token", "token", "password", "code"];

/// Whether the path or the query of a URL carries a secret.
pub(super) fn has_secret(path: &str, query: &str) -> bool {
    let is_meant = |pair: &str| {
        let name = plain(pair.split('=').next().unwrap_or_default());
        PARAMETERS.contains(&name.as_str())
    };
    let holds = |text: &str| {
        let text = plain(text);
        holds_token(&text) || holds_code(&text)
    };
    query.split('&').any(is_meant) || holds(path) || holds(query)
}

fn holds_token(text: &str) -> bool {
    let is_token = |rest: &str| {
        let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        rest.chars().take_while(good).take(TOKEN_CHARS).count() == TOKEN_CHARS
    };
    PREFIXES.iter().any(|prefix| text.split(prefix).skip(1).any(is_token))
}

fn holds_code(text: &str) -> bool {
    let (prefix, groups, letters) = CODE;
    let is_group = |part: &str| {
        part.len() == letters && part.bytes().all(|letter| letter.is_ascii_alphanumeric())
    };
    text.split(['/', '=', '&', '?', ' ']).any(|word| {
        let mut parts = word.trim().split('-');
        parts.next() == Some(prefix) && parts.clone().count() == groups && parts.all(is_group)
    })
}

/// In small letters, without percent-encoding.
fn plain(text: &str) -> String {
    let mut found = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let encoded = behind.split_at_checked(2).filter(|_| *byte == b'%');
        let decoded = encoded.and_then(|(digits, behind)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, behind))
        });
        let (byte, behind) = decoded.unwrap_or((*byte, behind));
        found.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&found).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_however_they_are_written() {
        let random = "aB3".repeat(16);
        let code = "TSR-AB12C-00000-ZZZZZ-12345";
        for (path, query) in [
            ("/v1/whoami".to_owned(), "access_token=x".to_owned()),
            ("/v1/whoami".to_owned(), "a=b&Access%5Ftoken=x".to_owned()),
            ("/v1/whoami".to_owned(), format!("cursor=tsr_pat_{random}")),
            ("/v1/whoami".to_owned(), format!("cursor=%74sr%5fop%5f{random}")),
            (format!("/v1/operators/tsr_prt_{random}"), String::new()),
            (format!("/v1/tenants/default/claims/{code}"), String::new()),
            ("/v1/audit".to_owned(), format!("subject={}", code.to_lowercase())),
        ] {
            assert!(has_secret(&path, &query), "{path}?{query}");
        }
        for (path, query) in [
            ("/v1/tenants/acme/devices", "attr.token=x&prefix=tsr_op_"),
            ("/v1/tenants/acme/devices/TSR-1-2-3", ""),
            ("/v1/tenants/acme/devices/tsr_op_box", ""),
            ("/token", ""),
            ("/v1/tenants/a%", "cursor=%zz%4"),
        ] {
            assert!(!has_secret(path, query), "{path}?{query}");
        }
    }
}
