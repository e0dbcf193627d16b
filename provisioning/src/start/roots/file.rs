//! The file `root.links`: the links that were accepted in this folder. It is durable before a link is effective, and is a
//! signed request, so that `tessera root accept` takes it.

use std::fs;
use std::io::Read;
use std::path::Path;

use tessera_runtime::secret::write_secret_file;
use tessera_token::limits::{ROOT_LINKS, ROOT_LINK_BYTES};
use tessera_token::trust::{RootLink, RootRequest, TrustError};

use super::links;
use crate::start_error::StartError;
use crate::tables::Tables;

pub(super) const LINKS_FILE: &str = "root.links";
/// Bytes of the file, with room.
const MOST: u64 = ((ROOT_LINKS + 2) * ROOT_LINK_BYTES) as u64;

/// The links of this folder; none without a file.
pub(super) fn read(data: &Path) -> Result<Vec<Vec<u8>>, StartError> {
    let path = data.join(LINKS_FILE);
    let mut bytes = Vec::new();
    match fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StartError::Io(path, error)),
        Ok(file) => file
            .take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| StartError::Io(path.clone(), error))?,
    };
    let damaged = |error| StartError::RootLinksFile(path.clone(), error);
    let RootRequest { mut links, link } = RootRequest::from_cbor(&bytes).map_err(damaged)?;
    links.push(link.to_cbor());
    Ok(links)
}

/// The links of this folder and of its database: those of the two that are more.
pub(in crate::start) async fn known(
    data: &Path,
    tables: &Tables,
) -> Result<Vec<Vec<u8>>, StartError> {
    let (_, here) = links(tables).await?;
    let known = read(data)?;
    let whole = longer(&here, &known);
    Ok(whole.map_err(|_| StartError::RootLines(data.join(LINKS_FILE)))?.to_vec())
}

/// Writes these links; without any the file goes.
pub(super) fn write(data: &Path, links: &[Vec<u8>]) -> Result<(), StartError> {
    let path = data.join(LINKS_FILE);
    let Some((last, before)) = links.split_last() else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StartError::Io(path, error))
            }
            _ => Ok(()),
        };
    };
    let link = RootLink::from_cbor(last).map_err(StartError::RootLink)?;
    let whole = RootRequest { links: before.to_vec(), link };
    Ok(write_secret_file(&path, &whole.to_cbor())?)
}

/// The longer one of two lines that agree as far as both go.
pub(super) fn longer<'a>(
    one: &'a [Vec<u8>],
    other: &'a [Vec<u8>],
) -> Result<&'a [Vec<u8>], TrustError> {
    let agree = one.iter().zip(other).all(|(one, other)| one == other);
    match (agree, one.len() < other.len()) {
        (false, _) => Err(TrustError::Order),
        (true, false) => Ok(one),
        (true, true) => Ok(other),
    }
}
