//! Where a request head ends. The rule is httparse's: lines end in LF or CRLF, empty lines before the request line do not
//! count.

/// The state of a scan over a head.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadScan {
    line: Line,
    started: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    Return,
    Text,
}

impl HeadScan {
    /// How many of the next bytes belong to the head, when it ends in them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match (byte, self.line) {
                (b'\n', Line::Empty | Line::Return) if self.started => return Some(at + 1),
                (b'\n', _) => self.line = Line::Empty,
                (b'\r', Line::Empty) => self.line = Line::Return,
                _ => {
                    self.line = Line::Text;
                    self.started = true;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_where_httparse_ends_them() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "GET"),
            ("GET / HTTP/1.1\nhost: x\n\n", "\n"),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", ""),
            ("\n\nGET / HTTP/1.1\nhost: x\r\n\n", "\r\n"),
        ] {
            let all = [head.as_bytes(), rest.as_bytes()].concat();
            assert_eq!(HeadScan::default().end(&all), Some(head.len()), "{head:?}");
            let mut scan = HeadScan::default();
            let ends = |(at, byte): (usize, &u8)| scan.end(&[*byte]).map(|_| at + 1);
            assert_eq!(all.iter().enumerate().find_map(ends), Some(head.len()), "{head:?}");
            let mut headers = [httparse::EMPTY_HEADER; 4];
            let parsed = httparse::Request::new(&mut headers).parse(&all);
            assert_eq!(parsed, Ok(httparse::Status::Complete(head.len())), "{head:?}");
        }
        assert_eq!(HeadScan::default().end(b"GET / HTTP/1.1\r\nhost: x\r\n\r"), None);
        assert_eq!(HeadScan::default().end(b"\r\n\r\n\n"), None);
    }
}
