//! From a refusal to HTTP: RFC 9457 for JSON callers, RFC 9200 for devices that speak CBOR. The only place that does.

use std::fmt;

use actix_web::http::header;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::json;
use tessera_runtime::http::server::{accepts, media_type};
use tessera_token::encoding::base64url;
use tessera_token::messages::{AceError, RefusalAnswer, ACE_CBOR};
use tessera_token::refusal::RefusalCode as Code;
use tessera_token::time::UnixSeconds;

use super::etag;
use crate::limits::APPROVAL_RETRY_SECONDS;
use crate::refused::Refused;

/// A refusal on its way to a JSON caller.
#[derive(Debug)]
pub(crate) struct Problem {
    refused: Refused,
    status: StatusCode,
}

impl<T: Into<Refused>> From<T> for Problem {
    fn from(refused: T) -> Self {
        let refused = refused.into();
        Self { status: status(refused.code), refused }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refused.code.fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.to_response(None, None)
    }
}

impl Problem {
    /// Whether it is of this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.refused.code == code
    }

    /// Whether the caller could have asked better: neither the service nor its bounds are the cause.
    pub(crate) fn is_of_caller(&self) -> bool {
        self.status.is_client_error()
            && !matches!(
                self.refused.code,
                Code::RateLimited | Code::LimitReached | Code::CapacityReached
            )
    }

    /// The same refusal under another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Its code.
    pub(crate) fn code(&self) -> Code {
        self.refused.code
    }

    /// The true reason, where strangers are told another. For the log alone.
    pub(crate) fn truth(&self) -> Option<Code> {
        self.refused.truth
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// As [`Problem::to_response`], under this status and with the member `error` of RFC 6749.
    pub(crate) fn to_oauth(&self, status: StatusCode, error: &str) -> HttpResponse {
        let code = self.refused.code;
        let mut body = json!({
            "error": error,
            "type": format!("urn:tessera:refusal:{code}"),
            "title": code.words(),
            "status": status.as_u16(),
            "code": code.as_str(),
        });
        if let Some((body, detail)) = body.as_object_mut().zip(self.refused.detail.as_ref()) {
            body.insert("detail".to_owned(), json!(detail));
        }
        let as_told = Self { refused: self.refused.clone(), status };
        as_told.finish("application/problem+json", body.to_string().into_bytes())
    }

    /// As `application/problem+json` (RFC 9457) with the members `code` and, for devices, `server_time` and `cnonce`.
    pub(crate) fn to_response(
        &self,
        server_time: Option<UnixSeconds>,
        cnonce: Option<&[u8]>,
    ) -> HttpResponse {
        let code = self.refused.code;
        let mut body = json!({
            "type": format!("urn:tessera:refusal:{code}"),
            "title": code.words(),
            "status": self.status.as_u16(),
            "code": code.as_str(),
        });
        if let Some((body, detail)) = body.as_object_mut().zip(self.refused.detail.as_ref()) {
            body.insert("detail".to_owned(), json!(detail));
        }
        if let Some((body, revision)) = body.as_object_mut().zip(self.refused.revision.as_ref()) {
            body.insert("etag".to_owned(), json!(etag::of_revision(revision)));
        }
        if let Some((body, time)) = body.as_object_mut().zip(server_time) {
            body.insert("server_time".to_owned(), json!(time.get()));
        }
        if let Some((body, cnonce)) = body.as_object_mut().zip(cnonce) {
            body.insert("cnonce".to_owned(), json!(base64url(cnonce)));
        }
        self.finish("application/problem+json", body.to_string().into_bytes())
    }

    /// In the form that the device speaks, with the service's clock as a hint and a nonce that it may sign instead.
    pub(crate) fn to_device(
        &self,
        request: &HttpRequest,
        now: UnixSeconds,
        cnonce: Option<[u8; 32]>,
    ) -> HttpResponse {
        let cnonce = cnonce.as_ref().map(<[u8; 32]>::as_slice);
        match speaks_cbor(request) {
            false => self.to_response(Some(now), cnonce),
            true => {
                let code = self.refused.code;
                let answer = RefusalAnswer::new(ace_error(code), code, now);
                let answer = match &self.refused.detail {
                    Some(detail) => answer.because(detail),
                    None => answer,
                };
                let answer = match cnonce {
                    Some(cnonce) => answer.with_cnonce(cnonce),
                    None => answer,
                };
                self.finish(ACE_CBOR, answer.to_cbor())
            }
        }
    }

    /// As the error answer of RFC 6749 section 5.2, with the members `code`, `server_time` and `cnonce` beside.
    pub(crate) fn to_token_error(
        &self,
        content_type: &'static str,
        now: UnixSeconds,
        cnonce: Option<&[u8]>,
    ) -> HttpResponse {
        let code = self.refused.code;
        let words = match &self.refused.detail {
            Some(detail) => format!("{}: {detail}", code.words()),
            None => code.words().to_owned(),
        };
        let mut body = json!({
            "error": ace_error(code).name(),
            "error_description": words,
            "code": code.as_str(),
            "server_time": now.get(),
        });
        if let Some((body, cnonce)) = body.as_object_mut().zip(cnonce) {
            body.insert("cnonce".to_owned(), json!(base64url(cnonce)));
        }
        self.finish(content_type, body.to_string().into_bytes())
    }

    fn finish(&self, content_type: &'static str, body: Vec<u8>) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status);
        builder.insert_header((header::CONTENT_TYPE, content_type));
        builder.insert_header((header::CACHE_CONTROL, "no-store"));
        let extra = match self.refused.code {
            Code::OperatorUnknown => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Code::RateLimited | Code::NotReady | Code::LimitReached => {
                Some((header::RETRY_AFTER, "1"))
            }
            _ => None,
        };
        if let Some(extra) = extra {
            builder.insert_header(extra);
        }
        if self.refused.code == Code::ApprovalPending {
            builder.insert_header((header::RETRY_AFTER, APPROVAL_RETRY_SECONDS));
        }
        if let Some(revision) = &self.refused.revision {
            builder.insert_header((header::ETAG, etag::of_revision(revision)));
        }
        let mut response = builder.body(body);
        response.extensions_mut().insert(self.refused.code);
        response
    }
}

/// Whether the caller wants `application/ace+cbor`, or sent it and wants nothing else.
pub(crate) fn speaks_cbor(request: &HttpRequest) -> bool {
    let wants_json =
        || accepts(request, "application/json") || accepts(request, "application/problem+json");
    accepts(request, ACE_CBOR)
        || media_type(request).is_some_and(|kind| kind == ACE_CBOR) && !wants_json()
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::OperatorUnknown | Code::ProofInvalid | Code::DeviceUnknown => {
            StatusCode::UNAUTHORIZED
        }
        Code::OperatorNotAllowed
        | Code::DeviceRevoked
        | Code::DeviceSuspended
        | Code::GroupSuspended
        | Code::ApprovalPending
        | Code::TenantSuspended
        | Code::DeviceKeyMismatch => StatusCode::FORBIDDEN,
        Code::BearerNotAllowed
        | Code::RefreshNotAllowed
        | Code::SymmetricNotOffered
        | Code::ChannelInClear => StatusCode::FORBIDDEN,
        Code::NotFound | Code::TenantUnknown | Code::RoleUnknown | Code::GroupUnknown => {
            StatusCode::NOT_FOUND
        }
        Code::AlreadyExists
        | Code::ClaimUsed
        | Code::CapacityReached
        | Code::TrustBeyond
        | Code::IdempotencyKeyBusy
        | Code::RoleInUse => StatusCode::CONFLICT,
        Code::NotEntitled | Code::WayNotTaken | Code::ApprovalRefused | Code::CertificateDenied => {
            StatusCode::FORBIDDEN
        }
        Code::EntitlementUsed => StatusCode::CONFLICT,
        Code::TrustGone => StatusCode::GONE,
        Code::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Code::RoleInvalid | Code::AttributeMissing | Code::IdempotencyKeyReused => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Code::RateLimited | Code::LimitReached => StatusCode::TOO_MANY_REQUESTS,
        Code::NotReady | Code::ClockWrong | Code::IssuerKeyMissing => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::Internal | Code::TokenTooLarge => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn ace_error(code: Code) -> AceError {
    match code {
        Code::ProofInvalid
        | Code::DeviceUnknown
        | Code::DeviceKeyMismatch
        | Code::TenantUnknown => AceError::InvalidClient,
        Code::ClaimUnknown
        | Code::ClaimUsed
        | Code::ClaimMismatch
        | Code::NonceInvalid
        | Code::ProofNotFresh
        | Code::RefreshTokenInvalid
        | Code::RefreshTokenReused
        | Code::AlreadyExists => AceError::InvalidGrant,
        Code::DeviceRevoked
        | Code::DeviceSuspended
        | Code::GroupSuspended
        | Code::ApprovalPending
        | Code::TenantSuspended
        | Code::BearerNotAllowed
        | Code::RefreshNotAllowed => AceError::UnauthorizedClient,
        Code::GrantTypeUnsupported => AceError::UnsupportedGrantType,
        Code::ProfileIncompatible => AceError::IncompatibleAceProfiles,
        Code::RoleUnknown
        | Code::RoleInvalid
        | Code::GroupUnknown
        | Code::AttributeMissing
        | Code::ScopeNotAllowed => AceError::InvalidScope,
        Code::NotEntitled | Code::EntitlementUsed | Code::CertificateInvalid => {
            AceError::InvalidGrant
        }
        Code::WayNotTaken | Code::ApprovalRefused | Code::CertificateDenied => {
            AceError::UnauthorizedClient
        }
        Code::ConfirmationKey | Code::SymmetricNotOffered => AceError::UnsupportedPopKey,
        _ => AceError::InvalidRequest,
    }
}
