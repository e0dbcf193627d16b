//! Buffers for the bytes of a turn. Each thread keeps a few: a turn allocates none, and an idle connection holds none.

use std::cell::RefCell;
use std::thread::LocalKey;

use bytes::BytesMut;

use crate::limits::{BUFFERS_PER_THREAD, READ_CHUNK, WRITE_BATCH};

type Spare = RefCell<Vec<BytesMut>>;

thread_local! {
    static READ: Spare = const { RefCell::new(Vec::new()) };
    static WRITE: Spare = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for what is read.
pub(super) fn to_read() -> BytesMut {
    take(&READ)
}

/// An empty buffer for what is written.
pub(super) fn to_write() -> BytesMut {
    take(&WRITE)
}

/// Leaves `inbox` the memory that its bytes and the `wants` bytes after them need, and takes the rest.
pub(super) fn after_reading(inbox: &mut BytesMut, wants: usize) {
    shrink(&READ, inbox, wants, READ_CHUNK);
}

/// Leaves `out` the memory that its bytes need, and takes the rest.
pub(super) fn after_writing(out: &mut BytesMut) {
    shrink(&WRITE, out, 0, 2 * WRITE_BATCH);
}

fn take(spare: &'static LocalKey<Spare>) -> BytesMut {
    let kept = spare.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(READ_CHUNK))
}

fn shrink(spare: &'static LocalKey<Spare>, buffer: &mut BytesMut, wants: usize, most: usize) {
    let needs = buffer.len() + wants;
    if !buffer.is_empty() && needs > READ_CHUNK / 4 {
        return;
    }
    let mut rest = BytesMut::new();
    if !buffer.is_empty() {
        rest.reserve(needs);
        rest.extend_from_slice(buffer);
        buffer.clear();
    }
    keep(spare, std::mem::replace(buffer, rest), most);
}

/// Keeps a buffer of at most `most` bytes that no message shares. A larger one is not kept: all of it would stay while
/// a message holds a part.
fn keep(spare: &'static LocalKey<Spare>, mut buffer: BytesMut, most: usize) {
    let is_larger = buffer.try_reclaim(most + 1);
    if is_larger || !buffer.try_reclaim(READ_CHUNK) {
        return;
    }
    spare.with_borrow_mut(|spare| {
        if spare.len() < BUFFERS_PER_THREAD {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        READ.with_borrow(Vec::len)
    }

    /// The address of the first byte that is written into it.
    fn place(buffer: &mut BytesMut) -> *const u8 {
        buffer.extend_from_slice(b"x");
        buffer.as_ptr()
    }

    #[test]
    fn the_next_turn_uses_the_buffer_of_the_last_one() {
        let mut inbox = to_read();
        let first = place(&mut inbox);
        for _ in 0..3 {
            drop(inbox.split_to(1).freeze());
            after_reading(&mut inbox, 0);
            assert_eq!((inbox.capacity(), kept()), (0, 1));
            inbox = to_read();
            assert_eq!(inbox.capacity(), READ_CHUNK);
            assert_eq!(place(&mut inbox), first);
        }
    }

    #[test]
    fn a_buffer_that_a_message_shares_is_not_used_again() {
        let mut inbox = to_read();
        inbox.extend_from_slice(b"payload");
        let payload = inbox.split_to(7).freeze();
        after_reading(&mut inbox, 0);
        assert_eq!(kept(), 0);
        let mut next = to_read();
        next.extend_from_slice(b"another");
        assert_eq!(&payload[..], b"payload");
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        let mut inbox = to_read();
        inbox.reserve(READ_CHUNK + 1);
        after_reading(&mut inbox, 0);
        assert_eq!(kept(), 0);
    }

    #[test]
    fn the_first_bytes_of_a_packet_hold_no_whole_buffer() {
        let mut inbox = to_read();
        inbox.extend_from_slice(b"half a packet");
        after_reading(&mut inbox, 100);
        assert_eq!((&inbox[..], kept()), (&b"half a packet"[..], 1));
        assert!(inbox.capacity() < 200, "{}", inbox.capacity());
    }

    #[test]
    fn a_thread_keeps_few() {
        let mut many: Vec<_> = (0..2 * BUFFERS_PER_THREAD).map(|_| to_read()).collect();
        many.iter_mut().for_each(|inbox| after_reading(inbox, 0));
        assert_eq!(kept(), BUFFERS_PER_THREAD);
    }
}
