use actix::MailboxError;
use tessera_runtime::random::RandomError;
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;

/// A refusal: its code is the same in answer, log, metric and test; `detail` may be told to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: RefusalCode,
    pub(crate) detail: Option<String>,
    /// The true reason, where `code` is what strangers are told in its place: for the log and never for the caller.
    pub(crate) truth: Option<RefusalCode>,
    /// The revision that a record has, where a change expected another.
    pub(crate) revision: Option<String>,
}

impl Refused {
    pub(crate) fn because(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { code, detail: Some(detail.into()), ..code.into() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::because(RefusalCode::RequestMalformed, detail)
    }
}

impl From<RefusalCode> for Refused {
    fn from(code: RefusalCode) -> Self {
        Self { code, detail: None, truth: None, revision: None }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "store");
        match error {
            StoreError::Full(_)
            | StoreError::Busy
            | StoreError::Poisoned
            | StoreError::Closed
            | StoreError::Io(_) => RefusalCode::NotReady.into(),
            StoreError::Conflict { .. } => RefusalCode::LimitReached.into(),
            _ => RefusalCode::Internal.into(),
        }
    }
}

impl From<RandomError> for Refused {
    fn from(error: RandomError) -> Self {
        tracing::error!(%error, "randomness");
        RefusalCode::NotReady.into()
    }
}

impl From<MailboxError> for Refused {
    fn from(error: MailboxError) -> Self {
        tracing::error!(%error, "actor");
        RefusalCode::NotReady.into()
    }
}
