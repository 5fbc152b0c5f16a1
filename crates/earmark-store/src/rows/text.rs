//! A small JSON writer for arrays of texts and numbers: what every hold and entry writes.
//!
//! The same text that the general writer makes, without building the values first. Reading
//! goes through the general reader.

use std::fmt::{Display, Write};

/// JSON in the making.
pub(crate) struct JsonText {
    text: String,
    /// Whether the next value needs a comma.
    follows: bool,
}

impl JsonText {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), follows: false }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn comma(&mut self) {
        if self.follows {
            self.text.push(',');
        }
        self.follows = true;
    }

    /// An array of what `items` writes.
    pub(crate) fn array(&mut self, items: impl FnOnce(&mut Self)) {
        self.comma();
        self.text.push('[');
        self.follows = false;
        items(self);
        self.text.push(']');
        self.follows = true;
    }

    /// A text that may need escapes.
    pub(crate) fn string(&mut self, text: &str) {
        self.comma();
        let is_plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        if is_plain {
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
        } else {
            // Writing a text cannot fail.
            self.text.push_str(&serde_json::to_string(text).unwrap_or_default());
        }
    }

    /// A text whose alphabet needs no escapes: ids, labels, days.
    pub(crate) fn plain(&mut self, value: impl Display) {
        self.comma();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\"{value}\"");
    }

    pub(crate) fn number(&mut self, value: i64) {
        self.comma();
        let _ = write!(self.text, "{value}");
    }

    pub(crate) fn optional_number(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.number(value),
            None => self.word("null"),
        }
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.word(if value { "true" } else { "false" });
    }

    fn word(&mut self, word: &str) {
        self.comma();
        self.text.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_general_writers() {
        let mut text = JsonText::with_capacity(16);
        let odd = "a\"b\\c\u{1}é";
        text.array(|text| {
            text.string("plain");
            text.string(odd);
            text.array(|text| {
                text.number(-7);
                text.optional_number(None);
                text.optional_number(Some(3));
            });
            text.array(|_| {});
            text.boolean(true);
            text.plain(5);
        });
        let value = serde_json::json!(["plain", odd, [-7, null, 3], [], true, "5"]);
        assert_eq!(text.finish(), value.to_string());
    }
}
