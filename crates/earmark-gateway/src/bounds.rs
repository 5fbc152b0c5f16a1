//! Upper bounds of the gateway: how large and how long anything may get, each with its reason.
//!
//! Always holds: nothing that a client or an upstream sends is buffered past a bound named here
//! or given in a configuration whose default stands here.
//! Not here: bounds of the quota engine, and those that belong to Earmark's own API.

/// Largest request body that a gateway route reads. A context window of a million tokens is
/// about 4 MB of text; images sent inline bring that to a few tens of megabytes.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest model name, in bytes. It becomes a dimension and an index key; real names, even
/// fine-tuned ones with an organisation inside, stay under 100.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// Most choices (`n`) of one call: what OpenAI itself accepts. Bounds what the observer remembers.
pub const CHOICES_MAX: u32 = 128;

/// Largest event of a stream. Text deltas are a few hundred bytes; an image or a sound sent as
/// one base64 event can be megabytes.
pub const STREAM_EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest plain reply, which is gathered before it is passed on: as large as a request may be.
/// The longest text outputs are under 1 MB; a minute of sound in base64 is about 4 MB.
pub const PLAIN_REPLY_BYTES_MAX: usize = REQUEST_BYTES_MAX;

/// Most bytes of one reply, however it is passed on: far above any real one, so that an upstream
/// gone mad ends.
pub const REPLY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Largest token count believed of a reported usage. The largest context windows are around ten
/// million tokens, times `CHOICES_MAX` outputs.
pub const USAGE_TOKENS_MAX: u64 = 10_000_000 * CHOICES_MAX as u64;

/// Pieces that wait for a slow reader before the upstream is no longer read. A piece is what one
/// read of the upstream's connection gave; a few hide the switching between two tasks, more
/// would only be memory.
pub const PIECES_WAITING_MAX: usize = 4;

/// How long the upstream may still take to end its body after `[DONE]`, in milliseconds. Reading
/// to the end keeps its connection reusable; a client that waits for the end should not notice.
pub const AFTER_TERMINAL_MS_MAX: u64 = 1_000;

/// Longest part of a message that the stand-in repeats, in characters: enough to recognise it.
pub const ECHO_CHARS_MAX: usize = 120;

/// Longest reply of the stand-in, in words: the longest output of a real model, roughly.
pub const STAND_IN_WORDS_MAX: u32 = 100_000;
