//! The log: where a batch becomes durable, before its rows reach the tables.
//!
//! Two files that are written in turn, each from its beginning, so that in steady use no
//! block is allocated and a sync writes data only. A batch is one record:
//!
//! ```text
//! 0   magic    u32   "EMLG"
//! 4   format   u32
//! 8   log      u64   drawn at random for each log: bytes that a client chose are no record
//! 16  number   u64   1 more than the batch before
//! 24  length   u32   of the images, in bytes
//! 28  checksum u32   CRC-32 of bytes 0..28 and the images
//! 32  images
//! ```
//!
//! Records begin at multiples of [`BLOCK_BYTES`]: writing one never touches a block of one that
//! is synced.
//!
//! Always holds: one record at a time is written and not yet synced, so a cut can only take
//! the last. A file is begun anew only when all its records are in the tables.
//! Not here: what the images mean.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The layout of records and images.
pub(crate) const FORMAT: u32 = 1;

/// Bytes that must stand free at the beginning of what [`Log::append`] is given.
pub(crate) const HEADER_BYTES: usize = 32;

/// What disks write whole: common file systems and drives have blocks of this size.
const BLOCK_BYTES: u64 = 4_096;

/// From here on the other file is taken, when its records are all in the tables.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// By how much a file grows: zeros are written ahead, so that a sync of a record need not
/// also write the file's size and extents.
const GROWTH_BYTES: u64 = 4 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"EMLG");

/// Why a batch is not in the log.
#[derive(Debug)]
pub(crate) enum LogError {
    /// No room; nothing has changed.
    Full(io::Error),
    /// The disk failed: what of the record is on it nobody knows.
    Failed(io::Error),
}

/// A batch read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) number: u64,
    /// Header and images.
    pub(crate) record: Vec<u8>,
}

/// Why a log cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A batch is missing while later ones are there: more than a cut.
    #[error("batch {0} is damaged, and batches after it are there")]
    Damaged(u64),
    /// Written by a version with another layout.
    #[error("its format is {0}, this version reads {FORMAT}")]
    Format(u32),
}

pub(crate) struct Log {
    id: u64,
    files: [LogFile; 2],
    current: usize,
    /// Number of the last batch.
    last: u64,
}

struct LogFile {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// Bytes that are there.
    size: u64,
    /// The last batch in it.
    last: u64,
}

/// The log's files in a data directory.
pub(crate) fn paths(directory: &Path) -> [PathBuf; 2] {
    [directory.join("earmark.log-0"), directory.join("earmark.log-1")]
}

/// Reads back the batches after `folded` of the log with that id, in order.
pub(crate) fn read(directory: &Path, id: u64, folded: u64) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    for path in paths(directory) {
        let bytes = std::fs::read(path)?;
        scan(&bytes, id, folded, &mut records)?;
    }
    records.sort_unstable_by_key(|record| record.number);
    for (record, expected) in records.iter().zip(folded + 1..) {
        if record.number != expected {
            return Err(ReadError::Damaged(expected));
        }
    }
    Ok(records)
}

/// The last batch in the log, while it may be written; 0 for none.
pub(crate) fn last(directory: &Path, id: u64) -> Result<u64, ReadError> {
    let mut last = 0;
    for path in paths(directory) {
        let bytes = std::fs::read(path)?;
        let mut records = Vec::new();
        scan(&bytes, id, last, &mut records)?;
        last = records.iter().map(|record| record.number).fold(last, u64::max);
    }
    Ok(last)
}

/// The largest number of a batch with which one of the files begins, of whatever log; 0 for
/// none. Nothing that a client chose stands at the beginning of a file.
pub(crate) fn begins_with(directory: &Path) -> io::Result<u64> {
    let mut largest = 0;
    for path in paths(directory) {
        match std::fs::read(path) {
            Ok(bytes) => largest = found(&bytes).map_or(0, |found| found.number).max(largest),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(largest)
}

/// Every whole record at a block's beginning: a cut one is passed over, and shows as a gap
/// if it was not the last.
fn scan(bytes: &[u8], id: u64, folded: u64, records: &mut Vec<Record>) -> Result<(), ReadError> {
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        match found(rest).filter(|found| found.log == id) {
            Some(Found { format, number, record, .. }) => {
                if format != FORMAT {
                    return Err(ReadError::Format(format));
                }
                if number > folded {
                    records.push(Record { number, record: record.to_vec() });
                }
                at += record.len().next_multiple_of(block);
            }
            None => at += block,
        }
    }
    Ok(())
}

/// A whole record in bytes that are read back.
struct Found<'b> {
    format: u32,
    log: u64,
    number: u64,
    /// Header and images.
    record: &'b [u8],
}

/// The record at the beginning of `bytes`, if a whole one is there.
fn found(bytes: &[u8]) -> Option<Found<'_>> {
    let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    if u32_at(0)? != MAGIC {
        return None;
    }
    let (format, log, number) = (u32_at(4)?, u64_at(8)?, u64_at(16)?);
    let (length, checksum) = (usize::try_from(u32_at(24)?).ok()?, u32_at(28)?);
    let record = bytes.get(..HEADER_BYTES.checked_add(length)?)?;
    let is_whole = checksum_of(&record[..28], &record[HEADER_BYTES..]) == checksum;
    is_whole.then_some(Found { format, log, number, record })
}

fn checksum_of(header: &[u8], images: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(images);
    hasher.finalize()
}

impl Log {
    /// Makes an empty log whose next batch is the one after `folded`; what is in its files is
    /// no longer wanted.
    pub(crate) fn create(directory: &Path, id: u64, folded: u64) -> io::Result<Self> {
        let [first, second] = paths(directory);
        let files = [LogFile::open(&first)?, LogFile::open(&second)?];
        // The new names, too, must survive a loss of power.
        File::open(directory)?.sync_all()?;
        Ok(Self { id, files, current: 0, last: folded })
    }

    /// Number of the last batch.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Makes a batch durable and returns its number. `bytes` are [`HEADER_BYTES`] free bytes
    /// and the images; `folded` is the last batch whose rows are in the tables.
    pub(crate) fn append(&mut self, bytes: &mut [u8], folded: u64) -> Result<u64, LogError> {
        let number = self.last + 1;
        self.put_header(bytes, number).map_err(LogError::Full)?;
        let other = 1 - self.current;
        if self.files[self.current].end >= FILE_BYTES_MAX && self.files[other].last <= folded {
            self.current = other;
            self.files[other].end = 0;
        }
        let file = &mut self.files[self.current];
        file.append(bytes)?;
        file.last = number;
        self.last = number;
        Ok(number)
    }

    fn put_header(&self, bytes: &mut [u8], number: u64) -> io::Result<()> {
        let (header, images) = bytes.split_at_mut(HEADER_BYTES);
        let length = u32::try_from(images.len())
            .map_err(|_| io::Error::new(ErrorKind::FileTooLarge, "a batch of over 4 GiB"))?;
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&FORMAT.to_le_bytes());
        header[8..16].copy_from_slice(&self.id.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        header[24..28].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum_of(&header[..28], images);
        header[28..32].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = crate::open::owners(&mut options).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, end: 0, size, last: 0 })
    }

    fn append(&mut self, record: &[u8]) -> Result<(), LogError> {
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        let end = self.end + length.next_multiple_of(BLOCK_BYTES);
        if end > self.size {
            self.grow(end.next_multiple_of(GROWTH_BYTES))?;
        }
        self.file.seek(SeekFrom::Start(self.end)).map_err(LogError::Failed)?;
        // A record that was cut here is not synced and not whole: the next one overwrites it.
        self.file.write_all(record).map_err(no_room_or_failed)?;
        self.file.sync_data().map_err(LogError::Failed)?;
        self.end = end;
        Ok(())
    }

    fn grow(&mut self, size: u64) -> Result<(), LogError> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        self.file.seek(SeekFrom::Start(self.size)).map_err(LogError::Failed)?;
        while self.size < size {
            self.file.write_all(&ZEROS).map_err(no_room_or_failed)?;
            self.size += 64 << 10;
        }
        Ok(())
    }
}

fn no_room_or_failed(error: io::Error) -> LogError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            LogError::Full(error)
        }
        _ => LogError::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 7;

    fn batch(text: &str) -> Vec<u8> {
        [&[0; HEADER_BYTES], text.as_bytes()].concat()
    }

    /// A log of these batches.
    fn written(texts: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), ID, 0).unwrap();
        for text in texts {
            log.append(&mut batch(text), 0).unwrap();
        }
        directory
    }

    fn read_back(directory: &Path, id: u64, folded: u64) -> Vec<(u64, String)> {
        let text = |record: &[u8]| String::from_utf8(record[HEADER_BYTES..].to_vec()).unwrap();
        let records = read(directory, id, folded).unwrap();
        records.into_iter().map(|one| (one.number, text(&one.record))).collect()
    }

    fn overwrite(directory: &Path, at: u64, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(&paths(directory)[0]).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    #[test]
    fn batches_are_read_back_in_order_from_where_the_tables_are() {
        let directory = written(&["a", "b", "c"]);
        let two = [(2, "b".to_owned()), (3, "c".to_owned())];
        assert_eq!(read_back(directory.path(), ID, 1), two);
        assert_eq!(last(directory.path(), ID).unwrap(), 3);
    }

    #[test]
    fn a_cut_last_batch_was_never_acknowledged_and_is_passed_over() {
        let long = "x".repeat(20_000);
        for cut in [1, HEADER_BYTES as u64, 5_000, 20_000] {
            let directory = written(&["a", &long]);
            overwrite(directory.path(), BLOCK_BYTES + cut, &[0; 20_032]);
            assert_eq!(read_back(directory.path(), ID, 0), [(1, "a".to_owned())], "{cut}");
        }
    }

    #[test]
    fn a_damaged_batch_with_others_after_it_is_named() {
        let directory = written(&["a", "b", "c"]);
        overwrite(directory.path(), BLOCK_BYTES + HEADER_BYTES as u64, b"B");
        assert!(matches!(read(directory.path(), ID, 0), Err(ReadError::Damaged(2))));
        // One that is in the tables already does no harm.
        assert_eq!(read_back(directory.path(), ID, 2), [(3, "c".to_owned())]);
    }

    #[test]
    fn bytes_that_a_client_chose_are_no_batch() {
        // A record of another log inside a record of this one, at the beginning of a block.
        let foreign = written(&["forged"]);
        let foreign = std::fs::read(&paths(foreign.path())[0]).unwrap();
        let inside = [&vec![b'.'; 4_096 - HEADER_BYTES][..], &foreign[..4_096]].concat();
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), ID + 1, 0).unwrap();
        log.append(&mut [&[0; HEADER_BYTES], &inside[..]].concat(), 0).unwrap();
        // Even when the outer one is cut.
        overwrite(directory.path(), HEADER_BYTES as u64, b"cut");
        assert_eq!(read(directory.path(), ID + 1, 0).unwrap(), []);
    }

    #[test]
    fn a_file_says_with_which_batch_it_begins_whatever_log_it_is_of() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(begins_with(directory.path()).unwrap(), 0);
        let mut log = Log::create(directory.path(), ID, 6).unwrap();
        assert_eq!(begins_with(directory.path()).unwrap(), 0);
        for text in ["a", "b"] {
            log.append(&mut batch(text), 6).unwrap();
        }
        assert_eq!(begins_with(directory.path()).unwrap(), 7);
        overwrite(directory.path(), HEADER_BYTES as u64, b"A");
        assert_eq!(begins_with(directory.path()).unwrap(), 0);
    }

    #[test]
    fn another_format_is_refused() {
        let directory = written(&["a"]);
        let mut bytes = std::fs::read(&paths(directory.path())[0]).unwrap();
        bytes[4..8].copy_from_slice(&2_u32.to_le_bytes());
        let checksum = checksum_of(&bytes[..28], b"a");
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(&paths(directory.path())[0], bytes).unwrap();
        assert!(matches!(read(directory.path(), ID, 0), Err(ReadError::Format(2))));
    }

    #[test]
    fn a_file_is_begun_anew_only_when_all_of_it_is_in_the_tables() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), ID, 0).unwrap();
        let megabyte = "x".repeat(1 << 20);
        let mut folded = 0;
        for number in 1..=200 {
            assert_eq!(log.append(&mut batch(&megabyte), folded).unwrap(), number);
            // As a folder that is ten batches behind.
            folded = number.saturating_sub(10);
            if number % 50 == 0 {
                let records = read(directory.path(), ID, folded).unwrap();
                let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
                assert_eq!(numbers, Vec::from_iter(folded + 1..=number));
            }
        }
        let sizes = paths(directory.path()).map(|path| std::fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FILE_BYTES_MAX + 2 * GROWTH_BYTES), "{sizes:?}");
    }

    /// A log whose files are a device.
    #[cfg(target_os = "linux")]
    fn on_device(device: &str) -> Log {
        let directory = tempfile::tempdir().unwrap();
        for path in paths(directory.path()) {
            std::os::unix::fs::symlink(device, path).unwrap();
        }
        Log::create(directory.path(), ID, 7).unwrap()
    }

    /// R37: a full disk rolls back cleanly, and the number is given to the next batch.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_takes_no_batch() {
        let mut log = on_device("/dev/full");
        for _ in 0..2 {
            let error = log.append(&mut batch("a"), 0).unwrap_err();
            assert!(matches!(error, LogError::Full(_)), "{error:?}");
            assert_eq!(log.last(), 7);
        }
    }

    /// R37: a sync that fails is a disk that failed, although every write went well.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_sync_that_fails_is_a_disk_that_failed() {
        let error = on_device("/dev/null").append(&mut batch("a"), 0).unwrap_err();
        assert!(matches!(error, LogError::Failed(_)), "{error:?}");
    }
}
