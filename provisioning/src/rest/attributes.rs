//! The query of a list of devices: parameters with fixed names, and `attr.NAME=value`.

use std::future::{ready, Ready};

use actix_web::dev::Payload;
use actix_web::web;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;
use serde_json::{json, Value};

use super::problem::Problem;
use crate::limits::ATTRIBUTES_ASKED;
use crate::records::attributes::{check_name, check_value};
use crate::refused::Refused;

const PREFIX: &str = "attr.";

/// A typed query, and the attributes beside it.
pub(crate) struct Filtered<T> {
    pub(crate) query: T,
    /// Names and values.
    pub(crate) attributes: Vec<(String, String)>,
}

/// The parameters of attributes in the document.
pub(crate) fn schema() -> Value {
    let value = json!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$" });
    json!({
        "type": "object",
        "patternProperties": { "^attr\\.[a-z][a-z0-9_-]{0,31}$": value },
        "additionalProperties": false,
        "maxProperties": ATTRIBUTES_ASKED,
    })
}

impl<T: DeserializeOwned> FromRequest for Filtered<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map_err(Problem::from))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<Filtered<T>, Refused> {
    // No character of the names is written in another way: a name in percent signs is an unknown parameter.
    let (attributes, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|part| part.starts_with(PREFIX));
    let query = web::Query::<T>::from_query(&others.join("&"))
        .map_err(|error| malformed(&error))?
        .into_inner();
    let pairs = web::Query::<Vec<(String, String)>>::from_query(&attributes.join("&"));
    let pairs = pairs.map_err(|error| malformed(&error))?.into_inner();
    if pairs.len() > ATTRIBUTES_ASKED {
        return Err(Refused::malformed(format!("at most {ATTRIBUTES_ASKED} attributes in a list")));
    }
    let mut attributes = Vec::new();
    for (name, value) in pairs {
        let name = name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
        check_name(&name)?;
        check_value(&name, &value)?;
        attributes.push((name, value));
    }
    Ok(Filtered { query, attributes })
}

fn malformed(error: &actix_web::error::QueryPayloadError) -> Refused {
    Refused::malformed(error.to_string())
}
