//! Server-sent events: an incremental scanner that never changes a byte.
//!
//! A relay must know what passes through it without touching it. The scanner takes chunks as the
//! network cuts them and gives back frames: the exact bytes of one event (or of one comment)
//! beside what they mean. Where a frame ends depends on the bytes alone, never on how they were
//! cut:
//!
//! ```text
//! : keep-alive⏎           a comment before any field is a frame of its own, so it is never held up
//! ⏎                       a blank line is always the end of a frame
//! event: delta⏎
//! data: {"a":⏎
//! data: 1}⏎
//! ⏎                       → name "delta", data "{\"a\":\n1}"
//! ```
//!
//! Always holds: the `raw` of all frames, in order, followed by what `finish` returns, equals the
//! input. A line ends with LF, CR or CRLF; after the CR that ends a frame one more byte is
//! awaited, because an LF there belongs to it (only streams with bare CR ever wait for it).
//! Not here: `id`, `retry` and reconnecting, which a relay has no use for; JSON.
//!
//! Source: the WHATWG HTML standard, "Server-sent events", sections on parsing and interpreting.

use bytes::{Bytes, BytesMut};

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// One event, comment or blank line, with the bytes that it arrived as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as they came, line ends included.
    pub raw: Bytes,
    /// Value of the last `event` field, if there was one.
    pub name: Option<Bytes>,
    /// Values of the `data` fields joined by LF; `None` if there was none.
    pub data: Option<Bytes>,
}

/// An event grew past the bound; the scanner takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {frame_bytes_max} bytes")]
pub struct FrameTooLarge {
    /// The bound that was passed.
    pub frame_bytes_max: usize,
}

/// Cuts a stream of bytes into frames. One per stream.
///
/// ```
/// use earmark_gateway::sse::Scanner;
/// let mut scanner = Scanner::new(1_000);
/// let mut frames = Vec::new();
/// scanner.push(&"data: [DO".into(), &mut frames).unwrap();
/// assert!(frames.is_empty());
/// scanner.push(&"NE]\n\n".into(), &mut frames).unwrap();
/// assert_eq!(frames[0].data.as_deref(), Some(&b"[DONE]"[..]));
/// assert_eq!(frames[0].raw.as_ref(), b"data: [DONE]\n\n");
/// ```
#[derive(Debug)]
pub struct Scanner {
    frame_bytes_max: usize,
    /// Bytes of the unfinished frame that came in earlier chunks.
    pending: BytesMut,
    /// How much of a byte order mark has been seen at the very start; 3 once that is decided.
    mark_bytes: usize,
    /// No frame has been cut yet, so a byte order mark may precede the first.
    at_start: bool,
    line: Line,
    failed: bool,
}

/// Where in the current frame the scanner stands.
#[derive(Clone, Copy, Debug)]
struct Line {
    is_first: bool,
    is_empty: bool,
    is_comment: bool,
    /// The last byte was a CR: an LF now is the second half of that line end.
    after_cr: bool,
    /// The frame ended with a CR: it is cut at the next byte, after it if that is an LF.
    awaits_lf: bool,
}

impl Line {
    const START: Line = Line {
        is_first: true,
        is_empty: true,
        is_comment: false,
        after_cr: false,
        awaits_lf: false,
    };

    /// Takes the end of a line; true if the frame ends with it.
    fn end(&mut self) -> bool {
        let frame_ends = self.is_empty || (self.is_first && self.is_comment);
        self.is_first = false;
        self.is_empty = true;
        self.is_comment = false;
        frame_ends
    }
}

impl Scanner {
    /// A scanner that refuses frames above `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Scanner {
        Scanner {
            frame_bytes_max,
            pending: BytesMut::new(),
            mark_bytes: 0,
            at_start: true,
            line: Line::START,
            failed: false,
        }
    }

    /// Takes the next chunk and appends the frames that it completes.
    ///
    /// # Errors
    /// [`FrameTooLarge`], now and at every later call; frames completed before are in `frames`.
    pub fn push(&mut self, chunk: &Bytes, frames: &mut Vec<Frame>) -> Result<(), FrameTooLarge> {
        if self.failed {
            return Err(self.too_large());
        }
        let mut start = 0;
        for (index, &byte) in chunk.iter().enumerate() {
            if self.line.awaits_lf {
                let cut = if byte == b'\n' { index + 1 } else { index };
                frames.push(self.cut(chunk.slice(start..cut))?);
                start = cut;
                if byte == b'\n' {
                    continue;
                }
            }
            if self.take(byte) {
                frames.push(self.cut(chunk.slice(start..=index))?);
                start = index + 1;
            }
        }
        self.pending.extend_from_slice(&chunk[start..]);
        if self.pending.len() > self.frame_bytes_max {
            return Err(self.too_large());
        }
        Ok(())
    }

    /// Ends the stream: returns the unfinished frame, if bytes are left. Its fields are read
    /// although no blank line ended it: some upstreams leave it out after `[DONE]`.
    #[must_use]
    pub fn finish(mut self) -> Option<Frame> {
        if self.pending.is_empty() {
            return None;
        }
        self.cut(Bytes::new()).ok()
    }

    /// Takes one byte; true if the frame ends with it.
    fn take(&mut self, byte: u8) -> bool {
        if self.mark_bytes < BYTE_ORDER_MARK.len() {
            if byte == BYTE_ORDER_MARK[self.mark_bytes] {
                self.mark_bytes += 1;
                return false;
            }
            // A mark that breaks off is ordinary text.
            self.line.is_empty = self.mark_bytes == 0;
            self.mark_bytes = BYTE_ORDER_MARK.len();
        }
        let second_half = self.line.after_cr && byte == b'\n';
        self.line.after_cr = byte == b'\r';
        match byte {
            b'\n' if second_half => false,
            b'\n' => self.line.end(),
            b'\r' => {
                self.line.awaits_lf = self.line.end();
                false
            }
            _ => {
                if self.line.is_empty {
                    self.line.is_empty = false;
                    self.line.is_comment = byte == b':';
                }
                false
            }
        }
    }

    /// Makes a frame of what is pending and `rest`, and starts the next.
    fn cut(&mut self, rest: Bytes) -> Result<Frame, FrameTooLarge> {
        let raw = if self.pending.is_empty() {
            rest
        } else {
            self.pending.extend_from_slice(&rest);
            self.pending.split().freeze()
        };
        if raw.len() > self.frame_bytes_max {
            return Err(self.too_large());
        }
        self.line = Line::START;
        // A mark can only stand before the first frame.
        self.mark_bytes = BYTE_ORDER_MARK.len();
        let skip = if self.at_start && raw.starts_with(&BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        self.at_start = false;
        Ok(read_fields(raw, skip))
    }

    fn too_large(&mut self) -> FrameTooLarge {
        self.failed = true;
        self.pending = BytesMut::new();
        FrameTooLarge { frame_bytes_max: self.frame_bytes_max }
    }
}

/// Reads the fields of a complete frame, from byte `skip` on.
fn read_fields(raw: Bytes, skip: usize) -> Frame {
    let mut name = None;
    let mut data: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    for line in raw[skip..].split(|&byte| byte == b'\n' || byte == b'\r') {
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = Some(raw.slice_ref(value)),
            // One data line, the usual case, is not copied.
            b"data" => match &data {
                None => data = Some(raw.slice_ref(value)),
                Some(first) => {
                    if joined.is_empty() {
                        joined.extend_from_slice(first);
                    }
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
    let data = if joined.is_empty() { data } else { Some(joined.freeze()) };
    Frame { raw, name, data }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut scanner = Scanner::new(1_000);
        let mut frames = Vec::new();
        for chunk in chunks {
            scanner.push(&Bytes::copy_from_slice(chunk), &mut frames).unwrap();
        }
        frames.extend(scanner.finish());
        frames
    }

    /// Shows frames as `name|data` with `-` for none, one string each.
    fn shown(input: &str) -> Vec<String> {
        let text = |bytes: Option<Bytes>| {
            bytes.map_or("-".into(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        scan(&[input.as_bytes()])
            .into_iter()
            .map(|frame| format!("{}|{}", text(frame.name), text(frame.data)))
            .collect()
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        // input                                   | frames as name|data
        assert_eq!(shown("data: a\n\n"), ["-|a"]);
        assert_eq!(shown("data:a\r\n\r\n"), ["-|a"]);
        assert_eq!(shown("data:  a\r\r"), ["-| a"]);
        assert_eq!(shown("event: x\ndata: 1\ndata\ndata: 2\n\n"), ["x|1\n\n2"]);
        assert_eq!(shown("\u{feff}data: a\n\n\u{feff}data: b\n\n"), ["-|a", "-|-"]);
        assert_eq!(shown(": ping\n\ndata: a\n\n"), ["-|-", "-|-", "-|a"]);
        assert_eq!(shown("data: a\n: inside\ndata: b\n\n"), ["-|a\nb"]);
        assert_eq!(shown("id: 7\nretry: 10\nother\n\n"), ["-|-"]);
        assert_eq!(shown("data: [DONE]"), ["-|[DONE]"]);
        assert_eq!(shown("data: a\r\r\ndata: b\r\n\r\n"), ["-|a", "-|b"]);
        assert_eq!(shown("\n\n"), ["-|-", "-|-"]);
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn a_comment_is_not_held_until_the_next_event() {
        let mut frames = Vec::new();
        Scanner::new(100).push(&Bytes::from_static(b": processing\n"), &mut frames).unwrap();
        assert_eq!(frames.len(), 1);
    }

    #[test]
    fn a_frame_above_the_bound_is_refused_for_good_and_those_before_it_are_kept() {
        let mut scanner = Scanner::new(9);
        let mut frames = Vec::new();
        let refused = Err(FrameTooLarge { frame_bytes_max: 9 });
        assert_eq!(scanner.push(&"data: a\n\ndata: ".into(), &mut frames), Ok(()));
        assert_eq!(scanner.push(&"abcdef".into(), &mut frames), refused);
        assert_eq!(scanner.push(&"\n\ndata: b\n\n".into(), &mut frames), refused);
        assert_eq!(frames.len(), 1);
        assert_eq!(Scanner::new(9).push(&"data: ab\n\n".into(), &mut frames), refused);
    }

    fn piece() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just(":"),
            Just("data: "),
            Just("event: x"),
            Just("é日🦀"),
            Just("\u{feff}"),
            Just("{\"a\":1}"),
        ]
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames_and_loses_no_byte(
            pieces in prop::collection::vec(piece(), 0..40),
            cuts in prop::collection::vec(0_usize..200, 0..20),
        ) {
            let input = pieces.concat().into_bytes();
            let whole = scan(&[&input]);
            let mut cuts: Vec<usize> =
                cuts.into_iter().filter(|cut| *cut < input.len()).chain([0, input.len()]).collect();
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&scan(&chunks), &whole);
            let every_byte: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(&scan(&every_byte), &whole);
            let raw: Vec<u8> = whole.iter().flat_map(|frame| frame.raw.to_vec()).collect();
            prop_assert_eq!(raw, input);
        }
    }
}
