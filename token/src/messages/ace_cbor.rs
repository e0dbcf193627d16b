//! The request to the token endpoint as `application/ace+cbor`.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::ace_request::{
    AceFault, AceGrant, AceMembers, AceRequest, GrantType, NamedKey, Profile, MQTT_TLS, NULL,
};
use super::error::{in_member, Bad};
use super::labels::*;
use super::{body, label, pairs, scope_text};
use crate::cbor::{Reader, Writer};
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{KeyId, PublicKey, Thumbprint};
use crate::scope::Scope;
use crate::time::UnixSeconds;

const CREDENTIALS_GRANT: i64 = 2;
const REFRESH_GRANT: i64 = 3;
/// Members of `cnf` by which a key is named (RFC 8747, RFC 9679).
const KID: i64 = 3;
const THUMBPRINT: i64 = 5;

/// A scope as it stands in the request.
enum Wished {
    Scope(Scope),
    Malformed,
}

impl AceRequest {
    /// Reads it; nothing is verified yet. Members that are not known are left out.
    ///
    /// # Errors
    /// [`AceFault`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, AceFault> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let mut members = AceMembers::default();
        let mut scope = None;
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            in_member(label, member(&mut members, &mut scope, label, &mut r))?;
        }
        members.scope = match scope {
            Some(Wished::Malformed) => return Err(AceFault::Scope),
            Some(Wished::Scope(scope)) => Some(scope),
            None => None,
        };
        members.request()
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut pairs: Vec<(i64, Vec<u8>)> = Vec::new();
        let mut add = |label: i64, write: &dyn Fn(&mut Writer)| {
            let mut w = Writer::new();
            write(&mut w);
            pairs.push((label, w.finish()));
        };
        if let Some(key) = &self.key {
            add(REQ_CNF, &|w| write_cnf(w, key));
        }
        if self.profile_asked {
            add(ACE_PROFILE, &|w| {
                w.raw(NULL);
            });
        }
        match &self.grant {
            AceGrant::Credentials(asked) => {
                let request = &asked.request;
                add(CLIENT_ID, &|w| {
                    w.text(request.device.as_str());
                });
                add(GRANT_TYPE, &|w| {
                    w.int(CREDENTIALS_GRANT);
                });
                add(TOKEN_TYPE, &|w| {
                    w.uint(request.kind.token_type());
                });
                add(TENANT, &|w| {
                    w.text(request.tenant.as_str());
                });
                match &request.cnonce {
                    Some(cnonce) => add(CNONCE, &|w| {
                        w.bytes(cnonce);
                    }),
                    None => add(IAT, &|w| {
                        w.uint(request.time.get());
                    }),
                }
                add(NONCE, &|w| {
                    w.bytes(&request.nonce);
                });
                add(SIGNATURE, &|w| {
                    w.bytes(&request.signature);
                });
                if let Some(pop_key) = request.kind.pop_key() {
                    add(POP_KEY, &|w| {
                        w.text(pop_key);
                    });
                }
                if let Some(answer_key) = &request.answer_key {
                    add(ANSWER_KEY, &|w| {
                        w.bytes(answer_key);
                    });
                }
                if asked.wish.refresh_token {
                    add(WANT_REFRESH_TOKEN, &|w| {
                        w.bool(true);
                    });
                }
            }
            AceGrant::Refresh(request) => {
                add(GRANT_TYPE, &|w| {
                    w.int(REFRESH_GRANT);
                });
                add(REFRESH_TOKEN, &|w| {
                    w.bytes(&request.token);
                });
                add(NONCE, &|w| {
                    w.bytes(&request.nonce);
                });
                if let Some(device) = &request.device {
                    add(CLIENT_ID, &|w| {
                        w.text(device.as_str());
                    });
                }
                if let Some(tenant) = &request.tenant {
                    add(TENANT, &|w| {
                        w.text(tenant.as_str());
                    });
                }
                if let Some(proof) = &request.proof {
                    match &proof.cnonce {
                        Some(cnonce) => add(CNONCE, &|w| {
                            w.bytes(cnonce);
                        }),
                        None => add(IAT, &|w| {
                            w.uint(proof.time.get());
                        }),
                    }
                    add(SIGNATURE, &|w| {
                        w.bytes(&proof.signature);
                    });
                }
            }
        }
        let wish = match &self.grant {
            AceGrant::Credentials(asked) => &asked.wish,
            AceGrant::Refresh(request) => &request.wish,
        };
        if let Some(audience) = &wish.audience {
            add(AUDIENCE, &|w| {
                w.text(audience.as_str());
            });
        }
        if let Some(scope) = &wish.scope {
            add(SCOPE, &|w| {
                w.bytes(&scope.to_aif());
            });
        }
        // The order of the encoded labels: positive numbers, then negative ones.
        pairs.sort_by_key(|(label, _)| (*label < 0, label.unsigned_abs()));
        let mut w = Writer::new();
        w.map(pairs.len());
        for (label, value) in &pairs {
            w.int(*label).raw(value);
        }
        w.finish()
    }
}

fn member(
    members: &mut AceMembers,
    scope: &mut Option<Wished>,
    label: Option<i64>,
    r: &mut Reader<'_>,
) -> Result<(), Bad> {
    match label {
        Some(GRANT_TYPE) => {
            members.grant_type = match r.int()? {
                CREDENTIALS_GRANT => GrantType::ClientCredentials,
                REFRESH_GRANT => GrantType::RefreshToken,
                _ => GrantType::Other,
            }
        }
        Some(CLIENT_ID) => members.device = Some(DeviceId::parse(r.text()?)?),
        Some(TENANT) => members.tenant = Some(TenantId::parse(r.text()?)?),
        Some(IAT) => members.time = Some(UnixSeconds::new(r.uint()?)),
        Some(CNONCE) => members.cnonce = Some(r.bytes()?.to_vec()),
        Some(NONCE) => members.nonce = Some(r.bytes()?.to_vec()),
        Some(SIGNATURE) => members.signature = Some(r.bytes_of()?),
        Some(TOKEN_TYPE) => {
            members.bearer = match r.uint()? {
                BEARER => Some(true),
                POP => Some(false),
                _ => return Err(Bad),
            }
        }
        Some(POP_KEY) => members.pop_key = Some(r.text()?.to_string()),
        Some(ANSWER_KEY) => members.answer_key = Some(r.bytes_of()?),
        Some(AUDIENCE) => members.audience = Some(Audience::parse(r.text()?)?),
        Some(SCOPE) => *scope = Some(wished(r.item()?)?),
        Some(REQ_CNF) => members.req_cnf = Some(named_key(r.item()?)?),
        Some(ACE_PROFILE) => members.profile = Some(profile(r.item()?)?),
        Some(REFRESH_TOKEN) => {
            members.refresh_token = Some(zeroize::Zeroizing::new(r.bytes()?.to_vec()));
        }
        Some(WANT_REFRESH_TOKEN) => members.want_refresh_token = r.bool()?,
        _ => r.skip()?,
    }
    Ok(())
}

/// AIF-MQTT in a byte string, or the text form.
fn wished(item: &[u8]) -> Result<Wished, Bad> {
    let scope = match Reader::new(item).text() {
        Ok(text) => scope_text::read(text),
        Err(_) => {
            // Other encoders write AIF in another well-formed way.
            let aif = body(Reader::new(item).bytes()?).ok();
            aif.and_then(|aif| Scope::from_aif(&aif).ok())
        }
    };
    Ok(scope.map_or(Wished::Malformed, Wished::Scope))
}

fn profile(item: &[u8]) -> Result<Profile, Bad> {
    match item {
        NULL => Ok(Profile::Asked),
        item => match Reader::new(item).int()? {
            MQTT_TLS => Ok(Profile::MqttTls),
            _ => Ok(Profile::Other),
        },
    }
}

/// The key that a `cnf` names. One member names it: of two it would be unclear which counts.
fn named_key(cnf: &[u8]) -> Result<NamedKey, Bad> {
    let mut r = Reader::new(cnf);
    let mut named = None;
    for _ in 0..r.map()? {
        let one = match r.label()? {
            Some(COSE_KEY) => {
                let item = r.item()?;
                Reader::new(item).map()?;
                PublicKey::from_cose_key(item).map_or(NamedKey::NotSupported, NamedKey::Key)
            }
            Some(KID) => match r.bytes()?.try_into() {
                Ok(kid) => NamedKey::Kid(KeyId::from_bytes(kid)),
                Err(_) => NamedKey::NotSupported,
            },
            Some(THUMBPRINT) => NamedKey::Thumbprint(Thumbprint::from_bytes(r.bytes_of()?)),
            _ => {
                r.skip()?;
                NamedKey::NotSupported
            }
        };
        if named.replace(one).is_some() {
            return Err(Bad);
        }
    }
    named.ok_or(Bad)
}

fn write_cnf(w: &mut Writer, key: &NamedKey) {
    w.map(1);
    match key {
        NamedKey::Key(key) => w.int(COSE_KEY).raw(&key.to_cose_key()),
        NamedKey::Kid(kid) => w.int(KID).bytes(kid.as_bytes()),
        NamedKey::Thumbprint(thumbprint) => w.int(THUMBPRINT).bytes(thumbprint.as_bytes()),
        // None of ours: such a request is refused.
        NamedKey::NotSupported => w.int(KID).bytes(&[]),
    };
}
