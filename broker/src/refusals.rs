//! One line at `info` for each thing that the broker refuses. `docs/logs.md` lists the lines and their fields; the log
//! bounds them by place and code.
//!
//! Names that a peer has not proved stand in fields that begin with `shown_`, cut at a length. Nothing is formatted for
//! a line that is not written.

use std::net::{IpAddr, Ipv4Addr};

use tessera_token::ids::{DeviceId, TenantId};

use crate::limits::{LOGGED_DETAIL_BYTES, LOGGED_ID_BYTES, LOGGED_TOPIC_BYTES};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address, or the one that a balancer names.
    pub address: IpAddr,
    /// Its transport: `mqtt`, `mqtts`, `ws`, `wss` or `quic`.
    pub transport: &'static str,
}

impl Default for Remote {
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), transport: "" }
    }
}

/// The kind of thing that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A socket, before a byte of it was read.
    Connection,
    /// The PROXY header of a balancer.
    ProxyHeader,
    /// A TLS handshake.
    Tls,
    /// A QUIC handshake.
    Quic,
    /// The HTTP request that should become a WebSocket.
    WebSocket,
    /// A CONNECT, or anything that came in its place.
    Connect,
    /// A PUBLISH.
    Publish,
    /// A filter of a SUBSCRIBE.
    Subscribe,
    /// A will, when it was due.
    Will,
    /// A token request, or a token that was handed in.
    Token,
    /// A question to the trust feed.
    Trust,
    /// A request on a connection that enrols.
    Enrolment,
    /// A session that was let in: the broker ends its connection.
    Session,
}

/// A step before CONNACK that a peer has not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) what: What,
    /// The rule that it broke, as a metric label.
    pub(crate) rule: &'static str,
    /// The text of the library of that step, if there is one.
    pub(crate) detail: Option<String>,
}

impl Broken {
    pub(crate) fn new(what: What, rule: &'static str) -> Self {
        Self { what, rule, detail: None }
    }

    pub(crate) fn because(self, detail: impl ToString) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }
}

/// One line.
#[derive(Clone, Copy)]
pub(crate) struct Refusal<'a> {
    what: What,
    code: &'a str,
    remote: Option<Remote>,
    owner: Option<(&'a TenantId, &'a DeviceId)>,
    client_id: Option<&'a str>,
    shown_client_id: Option<&'a str>,
    topic: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> Refusal<'a> {
    pub(crate) fn of(what: What, code: &'a str, remote: impl Into<Option<Remote>>) -> Self {
        Self {
            what,
            code,
            remote: remote.into(),
            owner: None,
            client_id: None,
            shown_client_id: None,
            topic: None,
            detail: None,
        }
    }

    /// The device of the token, as its issuer has signed it.
    pub(crate) fn owner(self, tenant: &'a TenantId, device: &'a DeviceId) -> Self {
        Self { owner: Some((tenant, device)), ..self }
    }

    /// The client id of a peer that has proved the key of its token.
    pub(crate) fn client_id(self, id: &'a str) -> Self {
        Self { client_id: Some(id), ..self }
    }

    /// The client id that a stranger has written.
    pub(crate) fn shown_client_id(self, id: &'a str) -> Self {
        Self { shown_client_id: Some(cut(id, LOGGED_ID_BYTES)), ..self }
    }

    pub(crate) fn topic(self, topic: &'a str) -> Self {
        Self { topic: Some(cut(topic, LOGGED_TOPIC_BYTES)), ..self }
    }

    pub(crate) fn detail(self, detail: &'a str) -> Self {
        Self { detail: Some(cut(detail, LOGGED_DETAIL_BYTES)), ..self }
    }

    /// Writes the line, if its cause may write one.
    pub(crate) fn tell(self) {
        // Each kind is a place of its own: a flood of one takes no line from another.
        macro_rules! line {
            ($message:literal) => {
                tracing::info!(
                    code = %self.code,
                    tenant = self.owner.map(|owner| display(owner.0)),
                    device = self.owner.map(|owner| display(owner.1)),
                    client_id = self.client_id,
                    shown_client_id = self.shown_client_id,
                    topic = self.topic,
                    address = self.remote.map(|remote| display(remote.address)),
                    transport = self.remote.map(|remote| display(remote.transport)),
                    detail = self.detail,
                    $message
                )
            };
        }
        match self.what {
            What::Connection => line!("connection turned away"),
            What::ProxyHeader => line!("PROXY header refused"),
            What::Tls => line!("TLS handshake refused"),
            What::Quic => line!("QUIC handshake refused"),
            What::WebSocket => line!("WebSocket upgrade refused"),
            What::Connect => line!("connect refused"),
            What::Publish => line!("publish refused"),
            What::Subscribe => line!("subscribe refused"),
            What::Will => line!("will refused"),
            What::Token => line!("token request refused"),
            What::Trust => line!("trust feed refused"),
            What::Enrolment => line!("enrolment refused"),
            What::Session => line!("connection ended by the broker"),
        }
    }
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let fits = |(at, one): (usize, char)| Some(at + one.len_utf8()).filter(|end| *end <= most);
    let end = text.char_indices().map_while(fits).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_peers_are_cut_at_whole_characters() {
        assert_eq!(cut("plain", 64), "plain");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut(&"x".repeat(65_535), LOGGED_ID_BYTES).len(), LOGGED_ID_BYTES);
    }
}
