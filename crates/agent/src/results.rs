//! Results: the file in which a command leaves its own, and those of the tasks that it needed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use agent_sdk::Assignment;
use agent_sdk::process::Scratch;
use lifecycle_core::wire::ids::TaskId;
use lifecycle_core::wire::task::MAX_RESULT_LEN;
use rustix::fs::OFlags;

/// Names the file in which a command leaves the result of its task.
const RESULT: &str = "LIFECYCLE_TASK_RESULT";
/// Names the folder with the results of the tasks that it needed, a file `<task>.txt` for each.
const RESULTS: &str = "LIFECYCLE_TASK_RESULTS";

/// The files of one attempt.
#[derive(Debug)]
pub(crate) struct ResultFiles {
    own: PathBuf,
    needed: PathBuf,
}

/// What a command has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// A text, with what was changed of it in words.
    Text(String, Option<String>),
}

/// The folder of the files of one life. It is made with the first task.
#[derive(Debug, Default)]
pub(crate) struct ResultFolder(OnceLock<Option<Scratch>>);

impl ResultFolder {
    /// Makes the files for an attempt, with these results of others. `None`, which is logged, where no file can be made: the
    /// command runs without.
    pub(crate) fn prepare(
        &self,
        task: &Assignment,
        results: &BTreeMap<TaskId, String>,
    ) -> Option<ResultFiles> {
        let scratch = self.0.get_or_init(|| {
            let made = Scratch::create();
            made.inspect_err(|error| tracing::warn!(%error, "no folder for results: {RESULT} is not set"))
                .ok()
        });
        let made = ResultFiles::make(scratch.as_ref()?, results);
        made.inspect_err(
            |error| tracing::warn!(task = %task.task, %error, "no file for the result: {RESULT} is not set"),
        )
        .ok()
    }
}

impl ResultFiles {
    fn make(scratch: &Scratch, results: &BTreeMap<TaskId, String>) -> io::Result<Self> {
        // A command may have removed it.
        scratch.make()?;
        let files = Self { own: scratch.path().join("result"), needed: scratch.path().join("needed") };
        if !results.is_empty() {
            DirBuilder::new().mode(0o700).create(&files.needed)?;
        }
        for (task, result) in results {
            fs::write(files.needed.join(format!("{task}.txt")), result)?;
        }
        Ok(files)
    }

    /// The variables that tell the command of them.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [(RESULT, self.own.display().to_string()), (RESULTS, self.needed.display().to_string())]
    }

    /// What the command has left. The work is done, so whatever is wrong with the file is told and nothing more.
    pub(crate) fn read(&self) -> Left {
        match self.open() {
            Ok(file) => read(file).unwrap_or_else(|error| unreadable(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Left::Nothing,
            Err(error) => unreadable(&error),
        }
    }

    /// It may be a link, or a FIFO that nobody writes to.
    fn open(&self) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&self.own)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
    }

    fn clear(&self) {
        let _ = fs::remove_file(&self.own);
        let _ = fs::remove_dir_all(&self.own);
        let _ = fs::remove_dir_all(&self.needed);
    }
}

impl Drop for ResultFiles {
    fn drop(&mut self) {
        self.clear();
    }
}

fn unreadable(error: &io::Error) -> Left {
    Left::Text(String::new(), Some(format!("its result could not be read: {error}")))
}

fn read(file: File) -> io::Result<Left> {
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(MAX_RESULT_LEN as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > MAX_RESULT_LEN;
    bytes.truncate(MAX_RESULT_LEN);
    Ok(kept(bytes, is_cut.then_some(size)))
}

/// The text that is kept. An argument of a command can hold no NUL.
fn kept(mut bytes: Vec<u8>, cut_from: Option<u64>) -> Left {
    if cut_from.is_some() {
        // The last letter may have been cut in two.
        let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        if bytes.len() - whole < 4 {
            bytes.truncate(whole);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let is_whole = matches!(text, std::borrow::Cow::Borrowed(_)) && !text.contains('\0');
    let mut text = text.replace('\0', "\u{fffd}");
    while text.len() > MAX_RESULT_LEN {
        text.pop();
    }
    let cut = cut_from.map(|size| format!("result cut to {MAX_RESULT_LEN} of {size} bytes"));
    let mended = (!is_whole).then(|| "what is no UTF-8 text in its result is replaced".to_owned());
    let told: Vec<String> = cut.into_iter().chain(mended).collect();
    Left::Text(text, (!told.is_empty()).then(|| told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], size: Option<u64>) -> (String, Option<String>) {
        match kept(bytes.to_vec(), size) {
            Left::Text(text, told) => (text, told),
            Left::Nothing => panic!("nothing"),
        }
    }

    #[test]
    fn a_result_is_kept_as_it_is_and_what_cannot_be_kept_is_told() {
        assert_eq!(text("é\n".as_bytes(), None), ("é\n".into(), None));
        let (kept, told) = text(b"a\xff\0b", None);
        assert_eq!(kept, "a\u{fffd}\u{fffd}b");
        assert!(told.unwrap().contains("no UTF-8"));
        let long = "é".repeat(MAX_RESULT_LEN / 2 + 1);
        let (kept, told) = text(&long.as_bytes()[1..=MAX_RESULT_LEN], Some(70_000));
        assert!(kept.len() <= MAX_RESULT_LEN, "replacing makes it longer");
        assert!(told.unwrap().contains("of 70000 bytes"));
        let (kept, told) = text(&[b"a", &long.as_bytes()[..MAX_RESULT_LEN - 1]].concat(), Some(65_538));
        assert_eq!((kept.len(), told.unwrap().contains("UTF-8")), (MAX_RESULT_LEN - 1, false));
    }
}
