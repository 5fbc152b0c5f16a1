//! Cursors: where the next page of a list begins, opaque to clients.
//!
//! A cursor names its list, so that one of another list is refused and not misread.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use earmark_core::{EntryId, HoldId, TenantId};
use earmark_engine::records::EntryPlace;

use crate::bounds::CURSOR_CHARS_MAX;
use crate::error::Problem;

/// A place in a list.
pub(crate) trait Place: Sized {
    /// The list.
    const LIST: char;
    /// The place as text.
    fn write(&self) -> String;
    /// Reads it; `None` for what [`Place::write`] never wrote.
    fn read(text: &str) -> Option<Self>;
}

impl Place for EntryPlace {
    const LIST: char = 'e';

    fn write(&self) -> String {
        format!("{}.{}", self.entry, self.position)
    }

    fn read(text: &str) -> Option<Self> {
        let (id, position) = text.rsplit_once('.')?;
        let (seq, line) = id.split_once('.')?;
        let entry = EntryId { seq: seq.parse().ok()?, line: line.parse().ok()? };
        let place = Self { entry, position: position.parse().ok()? };
        let is_one = 0 < entry.seq && 0 <= entry.line;
        (is_one && place.write() == text).then_some(place)
    }
}

/// An event, by its place in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventPlace(pub(crate) i64);

impl Place for EventPlace {
    const LIST: char = 'v';

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let place = Self(text.parse().ok().filter(|number| 0 < *number)?);
        (place.write() == text).then_some(place)
    }
}

impl Place for HoldId {
    const LIST: char = 'h';

    fn write(&self) -> String {
        self.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Place for TenantId {
    const LIST: char = 't';

    fn write(&self) -> String {
        self.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The cursor of a place.
pub(crate) fn write<P: Place>(place: &P) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{}", P::LIST, place.write()))
}

/// The place of a cursor, or the refusal of a text that is none.
pub(crate) fn read<P: Place>(cursor: &str) -> Result<P, Problem> {
    let bounded = Some(cursor).filter(|cursor| cursor.len() <= CURSOR_CHARS_MAX);
    let place = bounded
        .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| P::read(text.strip_prefix(P::LIST)?));
    place.ok_or_else(|| {
        Problem::invalid("cursor", "not a cursor of this list; send the `next` of the last page")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_as_they_were_written_and_for_their_list_only() {
        let place = EntryPlace { entry: EntryId { seq: 812, line: 3 }, position: 77 };
        let cursor = write(&place);
        assert_eq!(read::<EntryPlace>(&cursor).unwrap(), place);
        assert!(read::<HoldId>(&cursor).is_err());
        assert_eq!(read::<EventPlace>(&write(&EventPlace(7))).unwrap(), EventPlace(7));
        assert!(read::<EventPlace>(&write(&EventPlace(0))).is_err());
        let tenant = TenantId::new(&"x".repeat(128)).unwrap();
        assert_eq!(read::<TenantId>(&write(&tenant)).unwrap(), tenant);
        for bad in ["", "e", "Zm9v", "ZTEuMA==", "ZTAuMA", "ZTAxLjA", &"A".repeat(300)] {
            assert!(read::<EntryPlace>(bad).is_err(), "{bad}");
        }
    }
}
