//! Removes the very file that was meant: never what has taken its place, and never what is in a folder.

use std::{fs, io};

use lifecycle_core::agent::thing::{FileKind, Outcome, Standing, Step, Thing, for_file};

use super::{Became, mark_of};

pub(super) fn undo(thing: &Thing) -> Became {
    let path = &thing.what;
    let kind = kind_of(path);
    match for_file(Standing::of(thing.mark, mark_of(path)), kind) {
        Step::Done => (Outcome::Undone, String::new()),
        Step::Park(why) => (Outcome::Parked, why.to_string()),
        Step::Remove => {
            // A folder that is not empty by now is refused by the system.
            let is_folder = matches!(kind, FileKind::Folder { .. });
            said(if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) })
        }
    }
}

fn said(removed: io::Result<()>) -> Became {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => (Outcome::Left, error.to_string()),
        _ => (Outcome::Undone, String::new()),
    }
}

fn kind_of(path: &str) -> FileKind {
    match fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_file() || kind.is_symlink() => FileKind::File,
        Ok(kind) if kind.is_dir() => {
            // One that cannot be read is not known to be empty.
            FileKind::Folder {
                is_empty: fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
            }
        }
        _ => FileKind::Special,
    }
}
