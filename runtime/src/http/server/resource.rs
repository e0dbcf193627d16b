//! Paths with their methods, and problem details (RFC 9457) for requests that no handler answers.

use actix_web::http::{header, StatusCode};
use actix_web::{web, HttpRequest, HttpResponse, Resource};
use serde_json::json;
use tessera_token::refusal::RefusalCode;

/// A path that has these methods (`get`, `post` …): any other is refused with 405 and `Allow`. HEAD is where GET is.
pub fn resource(path: &str, methods: &[&str]) -> Resource {
    let mut allow: Vec<String> = methods.iter().map(|method| method.to_uppercase()).collect();
    if allow.iter().any(|method| method == "GET") {
        allow.push("HEAD".to_owned());
    }
    let allow = allow.join(", ");
    web::resource(path).default_service(web::to(move || {
        let allow = allow.clone();
        async move {
            let code = RefusalCode::MethodNotAllowed;
            let detail = format!("this path has {allow}");
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, code, Some(&detail));
            if let Ok(value) = header::HeaderValue::from_str(&allow) {
                answer.headers_mut().insert(header::ALLOW, value);
            }
            answer
        }
    }))
}

/// Everything that is no path of ours.
pub async fn nothing_here() -> HttpResponse {
    problem(StatusCode::NOT_FOUND, RefusalCode::NotFound, None)
}

/// Problem details. The code is in the extensions of the answer too, for the count of refusals.
pub fn problem(status: StatusCode, code: RefusalCode, detail: Option<&str>) -> HttpResponse {
    let mut body = json!({
        "type": format!("urn:tessera:refusal:{code}"),
        "title": code.words(),
        "status": status.as_u16(),
        "code": code.as_str(),
    });
    if let Some((body, detail)) = body.as_object_mut().zip(detail) {
        body.insert("detail".to_owned(), json!(detail));
    }
    let mut answer = HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "application/problem+json"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body.to_string());
    answer.extensions_mut().insert(code);
    answer
}

/// The media type of a request's body in lower case, without parameters; empty when none is told. `None` when it is text
/// in another character set than UTF-8.
pub fn media_type(request: &HttpRequest) -> Option<String> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return Some(String::new());
    };
    parse(value.to_str().ok()?)
}

fn parse(value: &str) -> Option<String> {
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let is_ours =
        |set: &str| ["utf-8", "utf8", "us-ascii"].iter().any(|s| s.eq_ignore_ascii_case(set));
    charset.is_none_or(is_ours).then_some(kind)
}

/// Whether `Accept` names this media type, and not with a weight of zero.
pub fn accepts(request: &HttpRequest, media: &str) -> bool {
    let values = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(media));
        let is_zero = |part: &str| {
            let weight =
                part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            weight.is_some_and(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
        };
        named && !parts.any(is_zero)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn media_types_are_read_as_rfc_9110_says() {
        for (value, kind) in [
            ("application/json", Some("application/json")),
            ("Application/JSON ; Charset=UTF-8", Some("application/json")),
            ("APPLICATION/ACE+CBOR", Some("application/ace+cbor")),
            ("application/json;charset=\"utf-8\"; x=y", Some("application/json")),
            ("application/json;charset=latin1", None),
            ("", Some("")),
        ] {
            assert_eq!(parse(value).as_deref(), kind, "{value}");
        }
    }

    #[test]
    fn accept_is_a_list_with_weights() {
        for (value, wanted) in [
            ("application/ace+cbor", true),
            ("text/html, Application/ACE+cbor;q=0.1", true),
            ("application/ace+cbor; q=0", false),
            ("application/ace+cbor-seq", false),
            ("*/*", false),
        ] {
            let request = TestRequest::default().insert_header(("accept", value)).to_http_request();
            assert_eq!(accepts(&request, "application/ace+cbor"), wanted, "{value}");
        }
    }
}
