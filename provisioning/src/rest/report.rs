//! The head of a report of a verifier: the row of its numbers, its items, and its name.

use actix_web::HttpRequest;
use tessera_token::ids::VerifierName;
use tessera_token::trust::VERIFIER_HEADER;

use crate::refused::Refused;

/// Whether a report is good: `line` names a row of numbers, there are at most so many items, and their numbers rise.
///
/// # Errors
/// `request_malformed`, in words.
pub(super) fn check(
    line: &str,
    numbers: impl ExactSizeIterator<Item = u64>,
    most: usize,
) -> Result<(), Refused> {
    check_line(line, numbers.len(), most)?;
    match numbers.is_sorted_by(|one, next| one < next) {
        true => Ok(()),
        false => Err(Refused::malformed("the numbers of a report rise")),
    }
}

/// As [`check`], for items without numbers.
///
/// # Errors
/// `request_malformed`, in words.
pub(super) fn check_line(line: &str, items: usize, most: usize) -> Result<(), Refused> {
    if line.len() != 16 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refused::malformed("line has 16 hexadecimal digits"));
    }
    match items <= most {
        true => Ok(()),
        false => Err(Refused::malformed(format!("a report has at most {most} items"))),
    }
}

/// The name of the verifier, when the request has one.
pub(super) fn verifier(request: &HttpRequest) -> Option<&str> {
    let named = request.headers().get(VERIFIER_HEADER).and_then(|name| name.to_str().ok());
    named.filter(|name| VerifierName::parse(name).is_ok())
}
