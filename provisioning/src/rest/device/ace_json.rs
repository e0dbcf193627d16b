//! Members of a request to the token endpoint as JSON or as a form: the names of RFC 9200, binary as base64url.
//!
//! Members that are not known are left out. One that comes twice is refused, known or not (RFC 6749 section 3.2).

use std::collections::HashSet;
use std::fmt;

use actix_web::web;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tessera_token::encoding::from_base64url;
use tessera_token::ids::Audience;
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::messages::{scope_text, AceFault, AceMembers, GrantType, NamedKey, Profile};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;
use zeroize::Zeroizing;

use super::ace::of_fault;
use crate::refused::Refused;
use crate::rest::input::id;
use crate::rest::problem::Problem;

/// The members of a JSON object.
pub(super) fn members(bytes: &[u8]) -> Result<AceMembers, Problem> {
    let Once(whole) =
        serde_json::from_slice(bytes).map_err(|error| Refused::malformed(error.to_string()))?;
    match whole {
        Value::Object(members) => of_object(members, false),
        _ => Err(Refused::malformed("send a JSON object").into()),
    }
}

/// The members of a form: each value is a text, `req_cnf` is JSON in it, and an empty `ace_profile` is null.
pub(super) fn form(bytes: &[u8]) -> Result<AceMembers, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::malformed("the form is no text"))?;
    let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
        .map_err(|error| Refused::malformed(error.to_string()))?;
    let mut members = Map::new();
    for (name, value) in pairs.into_inner() {
        if members.insert(name, Value::String(value)).is_some() {
            return Err(Refused::malformed("a member comes twice").into());
        }
    }
    if let Some(Value::String(text)) = members.get("req_cnf") {
        let Once(value) = serde_json::from_str(text)
            .map_err(|error| Refused::malformed(format!("req_cnf: {error}")))?;
        members.insert("req_cnf".to_owned(), value);
    }
    of_object(members, true)
}

fn of_object(members: Map<String, Value>, is_form: bool) -> Result<AceMembers, Problem> {
    let mut found = AceMembers::default();
    for (name, value) in &members {
        let value = Member { name, value, is_form };
        match name.as_str() {
            "grant_type" => {
                found.grant_type = match value.text()? {
                    "client_credentials" => GrantType::ClientCredentials,
                    "refresh_token" => GrantType::RefreshToken,
                    _ => GrantType::Other,
                }
            }
            "client_id" => found.device = Some(id(value.text()?)?),
            "tenant" => found.tenant = Some(id(value.text()?)?),
            "iat" => found.time = Some(UnixSeconds::new(value.number()?)),
            "cnonce" => found.cnonce = Some(value.binary()?),
            "nonce" => found.nonce = Some(value.binary()?),
            "signature" => found.signature = Some(value.exactly()?),
            "token_type" => {
                found.bearer = match value.text()? {
                    text if text.eq_ignore_ascii_case("bearer") => Some(true),
                    text if text.eq_ignore_ascii_case("pop") => Some(false),
                    _ => return Err(value.must_be("PoP or Bearer")),
                }
            }
            "pop_key" => found.pop_key = Some(value.text()?.to_owned()),
            "answer_key" => found.answer_key = Some(value.exactly()?),
            "audience" => {
                let audience = Audience::parse(value.text()?);
                found.audience = Some(audience.map_err(|_| value.must_be("an audience"))?);
            }
            "scope" => {
                found.scope = Some(scope(value.value).ok_or_else(|| of_fault(AceFault::Scope))?);
            }
            "req_cnf" => found.req_cnf = Some(named_key(&value)?),
            "ace_profile" => found.profile = Some(profile(&value)?),
            "refresh_token" => {
                let token = value.text()?.as_bytes().to_vec();
                found.refresh_token = Some(Zeroizing::new(token));
            }
            "want_refresh_token" => found.want_refresh_token = value.flag()?,
            _ => {}
        }
    }
    Ok(found)
}

/// A member and its name, for the error about it.
struct Member<'a> {
    name: &'a str,
    value: &'a Value,
    is_form: bool,
}

impl<'a> Member<'a> {
    fn must_be(&self, what: &str) -> Problem {
        Refused::malformed(format!("{} must be {what}", self.name)).into()
    }

    fn text(&self) -> Result<&'a str, Problem> {
        self.value.as_str().ok_or_else(|| self.must_be("a text"))
    }

    fn number(&self) -> Result<u64, Problem> {
        let number = match self.is_form {
            true => self.value.as_str().and_then(|text| text.parse().ok()),
            false => self.value.as_u64(),
        };
        number.ok_or_else(|| self.must_be("a whole number"))
    }

    fn flag(&self) -> Result<bool, Problem> {
        let flag = match self.is_form {
            true => self.value.as_str().and_then(|text| text.parse().ok()),
            false => self.value.as_bool(),
        };
        flag.ok_or_else(|| self.must_be("true or false"))
    }

    fn binary(&self) -> Result<Vec<u8>, Problem> {
        from_base64url(self.text()?).ok_or_else(|| self.must_be("base64url without padding"))
    }

    fn exactly<const N: usize>(&self) -> Result<[u8; N], Problem> {
        let bytes = self.binary()?.try_into();
        bytes.map_err(|_| self.must_be(&format!("{N} bytes as base64url without padding")))
    }
}

/// The text form, or AIF-MQTT as JSON: `[["d/a/state", ["pub"]]]`.
fn scope(value: &Value) -> Option<Scope> {
    let entries = match value {
        Value::String(text) => return scope_text::read(text),
        value => value.as_array()?,
    };
    let entries = entries.iter().map(|entry| {
        let [filter, words] = entry.as_array()?.as_slice() else { return None };
        let words: Option<Vec<&str>> = words.as_array()?.iter().map(Value::as_str).collect();
        Some(ScopeEntry {
            filter: TopicFilter::parse(filter.as_str()?).ok()?,
            permission: Permission::from_words(words?)?,
        })
    });
    Scope::new(entries.collect::<Option<_>>()?).ok()
}

/// `{"jwk": …}` with an OKP key (RFC 8037), or `{"kid": …}`.
fn named_key(member: &Member<'_>) -> Result<NamedKey, Problem> {
    let shape = || member.must_be("an object with one of jwk and kid");
    let cnf = member.value.as_object().filter(|cnf| cnf.len() == 1).ok_or_else(shape)?;
    if let Some(kid) = cnf.get("kid") {
        let kid = kid.as_str().ok_or_else(shape)?;
        let kid = from_base64url(kid).and_then(|kid| kid.try_into().ok());
        return Ok(kid.map_or(NamedKey::NotSupported, |kid| NamedKey::Kid(KeyId::from_bytes(kid))));
    }
    let Some(jwk) = cnf.get("jwk") else { return Ok(NamedKey::NotSupported) };
    let jwk = jwk.as_object().ok_or_else(shape)?;
    let part = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_ours = (part("kty"), part("crv")) == (Some("OKP"), Some("Ed25519"));
    let is_public = !jwk.contains_key("d");
    let key = part("x").filter(|_| is_ours && is_public).and_then(from_base64url);
    let key = key.and_then(|key| PublicKey::from_bytes(&key).ok());
    Ok(key.map_or(NamedKey::NotSupported, NamedKey::Key))
}

fn profile(member: &Member<'_>) -> Result<Profile, Problem> {
    match member.value {
        Value::Null => Ok(Profile::Asked),
        Value::String(text) if member.is_form && text.is_empty() => Ok(Profile::Asked),
        Value::String(text) if text == "mqtt_tls" => Ok(Profile::MqttTls),
        Value::String(_) => Ok(Profile::Other),
        _ => Err(member.must_be("null or the name of a profile")),
    }
}

/// JSON in which no object has a member twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a member that comes twice")
    }

    fn visit_unit<E: Error>(self) -> Result<Once, E> {
        Ok(Once(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Once(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let (mut members, mut names) = (Map::new(), HashSet::new());
        while let Some(name) = items.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a member comes twice"));
            }
            let Once(value) = items.next_value()?;
            members.insert(name, value);
        }
        Ok(Once(Value::Object(members)))
    }
}
