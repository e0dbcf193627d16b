//! Checksums of what the store writes: the only file that names `crc32fast`.

/// CRC-32 over all parts, one after the other.
pub(crate) fn of(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
