//! How much of a task's log is kept: its beginning and its end.
//!
//! The command writes into the file itself, not into a pipe of ours. So nothing that it prints is lost when this
//! process is killed, and it is never held up. The file's size is checked from time to time instead. Once it is too
//! large, its middle becomes a hole, which takes no room and moves nothing that is being written. At the end of the
//! attempt the hole is closed. Between two checks the file can be over its limit by what is printed meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use lifecycle_cli::log_file::MIDDLE_DROPPED;

/// Which parts of a long log are kept, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct LogLimit {
    /// How much of the beginning is kept.
    head: u64,
    /// The line that stands in place of the middle.
    mark: String,
    /// How much of the end is kept.
    tail: u64,
}

impl LogLimit {
    /// Keeps `limit` bytes in all; it is 4 KiB or more.
    pub(crate) fn new(limit: bytesize::ByteSize) -> Self {
        let mark = format!("\n{MIDDLE_DROPPED}: a log is kept to {limit} (coordinator.log_limit) ---\n");
        let kept = limit.as_u64().saturating_sub(mark.len() as u64);
        Self { head: kept / 2, tail: kept - kept / 2, mark }
    }

    fn after_mark(&self) -> u64 {
        self.head + self.mark.len() as u64
    }

    /// Where the kept end begins; `None` while the whole file is kept.
    fn tail_of(&self, file: &File) -> io::Result<Option<u64>> {
        let size = file.metadata()?.len();
        Ok((size > self.after_mark() + self.tail).then(|| size - self.tail))
    }

    /// Gives back the room of the middle, while the command writes to the end.
    ///
    /// # Errors
    /// When the file cannot be read or written, or its file system cannot make holes.
    pub(crate) fn free_middle(&self, file: &File) -> io::Result<()> {
        let Some(tail) = self.tail_of(file)? else { return Ok(()) };
        file.write_all_at(self.mark.as_bytes(), self.head)?;
        punch(file, self.after_mark(), tail - self.after_mark())
    }

    /// Joins the beginning and the end, once the command does not write any more.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn close_gap(&self, file: &File) -> io::Result<()> {
        let Some(tail) = self.tail_of(file)? else { return Ok(()) };
        file.write_all_at(self.mark.as_bytes(), self.head)?;
        let mut part = vec![0; 1 << 16];
        let (mut from, mut to) = (tail, self.after_mark());
        loop {
            let read = file.read_at(&mut part, from)?;
            if read == 0 {
                return file.set_len(to);
            }
            file.write_all_at(&part[..read], to)?;
            (from, to) = (from + read as u64, to + read as u64);
        }
    }
}

#[cfg(target_os = "linux")]
fn punch(file: &File, at: u64, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length)?)
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn read(file: &mut File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        std::io::Read::read_to_end(file, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_log_within_its_limit_is_left_alone_and_a_longer_one_keeps_both_ends_and_says_so() {
        let limit = LogLimit::new(bytesize::ByteSize::kib(64));
        for size in [0, 1, 65_000, 65_536, 65_537, 200_000, 1_000_000] {
            let mut file = tempfile::tempfile().unwrap();
            let written: Vec<u8> = (0..size).map(|at: u32| b'a' + (at % 23) as u8).collect();
            file.write_all(&written).unwrap();
            limit.close_gap(&file).unwrap();
            let kept = read(&mut file);
            if size <= 65_536 {
                assert_eq!(kept, written, "{size}");
                continue;
            }
            assert_eq!(kept.len(), 65_536, "{size}");
            let (head, tail) = (limit.head as usize, limit.tail as usize);
            assert_eq!(kept[..head], written[..head]);
            assert_eq!(kept[kept.len() - tail..], written[written.len() - tail..]);
            assert_eq!(&kept[head..kept.len() - tail], limit.mark.as_bytes());
            limit.close_gap(&file).unwrap();
            assert_eq!(read(&mut file), kept, "again changes nothing");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn while_it_is_written_its_middle_takes_no_room_and_its_end_goes_on() {
        let limit = LogLimit::new(bytesize::ByteSize::kib(64));
        let mut file = tempfile::tempfile().unwrap();
        for round in 0..32_u8 {
            file.seek(std::io::SeekFrom::End(0)).unwrap();
            file.write_all(&vec![b'a' + round % 26; 100_000]).unwrap();
            match limit.free_middle(&file) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
                freed => freed.unwrap(),
            }
        }
        let used = file.metadata().unwrap().blocks() * 512;
        assert!(used < 3 * 65_536, "{used} bytes of 3.2 MB in use");
        limit.close_gap(&file).unwrap();
        let kept = read(&mut file);
        assert_eq!(kept.len(), 65_536);
        assert!(kept.starts_with(b"aaa") && kept.ends_with(b"fff") && !kept.contains(&0));
    }
}
