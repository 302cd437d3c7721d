//! The block of memory in which the kernel keeps a process's arguments and environment, and which others can read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::is_secret;

/// Overwrites the secrets through `/proc/self/mem`: that is how safe code writes to memory it does not own in Rust's
/// sense.
pub(super) fn overwrite(flag: &str) -> io::Result<()> {
    // Bytes: the kernel cuts a program's name to 15 of them, within a letter if need be.
    let stat = match std::fs::read("/proc/self/stat") {
        Ok(stat) => String::from_utf8_lossy(&stat).into_owned(),
        // Where /proc is not mounted, other processes cannot read it either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let blocks =
        Blocks::of(&stat).ok_or_else(|| io::Error::other("/proc/self/stat is not as proc(5) has it"))?;
    let memory = std::fs::File::options().read(true).write(true).open("/proc/self/mem")?;
    for (start, end, find, filling) in [
        (blocks.environment.0, blocks.environment.1, secret_variables as Find, 0),
        (blocks.arguments.0, blocks.arguments.1, secret_arguments, b'*'),
    ] {
        let mut block = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        memory.read_exact_at(&mut block, start)?;
        for (at, length) in find(&block, flag) {
            memory.write_all_at(&vec![filling; length], start + at as u64)?;
        }
    }
    Ok(())
}

/// Finds what is secret in a block of entries that each end with NUL: offset and length.
type Find = fn(&[u8], &str) -> Vec<(usize, usize)>;

/// Where the kernel put what the process was started with.
#[derive(Debug, PartialEq, Eq)]
struct Blocks {
    arguments: (u64, u64),
    environment: (u64, u64),
}

impl Blocks {
    /// proc(5): `pid (comm) state …`, with `arg_start arg_end env_start env_end` as fields 48 to 51; comm may hold anything.
    fn of(stat: &str) -> Option<Self> {
        let mut fields =
            stat.rsplit_once(") ")?.1.split(' ').skip(45).map_while(|field| field.trim().parse().ok());
        let mut pair = || Some((fields.next()?, fields.next()?));
        Some(Self { arguments: pair()?, environment: pair()? })
    }
}

/// The variables that hold a secret; their names are part of what is found.
fn secret_variables(block: &[u8], _: &str) -> Vec<(usize, usize)> {
    let is_secret = |entry: &[u8]| {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        std::str::from_utf8(name).is_ok_and(|name| is_secret(OsStr::new(name)))
    };
    entries(block).filter(|(_, entry)| is_secret(entry)).map(|(at, entry)| (at, entry.len())).collect()
}

/// The values of `flag` that hold a password, up to the `--` after which a command's own arguments begin.
fn secret_arguments(block: &[u8], flag: &str) -> Vec<(usize, usize)> {
    let holds_password = |value: &[u8]| {
        let url = String::from_utf8_lossy(value).into_owned();
        lifecycle_core::settings::Redis { url: url.clone(), ..Default::default() }.url_without_password()
            != url
    };
    let mut found = Vec::new();
    let mut is_value = false;
    for (at, entry) in entries(block).take_while(|(_, entry)| *entry != b"--") {
        let value = match entry.strip_prefix(flag.as_bytes()) {
            _ if is_value => Some(entry),
            Some(rest) => rest.strip_prefix(b"="),
            None => None,
        };
        if let Some(value) = value.filter(|value| holds_password(value)) {
            found.push((at + entry.len() - value.len(), value.len()));
        }
        is_value = !is_value && entry == flag.as_bytes();
    }
    found
}

fn entries(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    block.split(|byte| *byte == 0).scan(0, |next, entry| {
        let at = *next;
        *next += entry.len() + 1;
        Some((at, entry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(find: Find, block: &str) -> Vec<&str> {
        find(block.as_bytes(), "--redis-url")
            .into_iter()
            .map(|(at, length)| &block[at..at + length])
            .collect()
    }

    #[test]
    fn every_spelling_of_a_secret_variable_is_found_and_no_other() {
        let block = "PATH=/bin\0LIFECYCLE_REDIS__URL=redis://x\0LIFECYCLE_redis__Password=a=b\0\
                     LIFECYCLE_REDIS__URL_OLD=x\0LIFECYCLE_SWEEP__GRACE=1s\0";
        assert_eq!(
            hidden(secret_variables, block),
            ["LIFECYCLE_REDIS__URL=redis://x", "LIFECYCLE_redis__Password=a=b"]
        );
    }

    #[test]
    fn a_password_among_the_arguments_is_found_and_a_url_without_one_stays_to_be_seen() {
        assert_eq!(hidden(secret_arguments, "agent\0run\0--redis-url\0redis://:pw@h\0"), ["redis://:pw@h"]);
        assert_eq!(hidden(secret_arguments, "agent\0--redis-url=redis://:pw@h\0run\0"), ["redis://:pw@h"]);
        assert_eq!(hidden(secret_arguments, "agent\0--redis-url\0redis://h:1\0run\0"), [""; 0]);
        assert_eq!(
            hidden(secret_arguments, "agent\0run\0--\0other\0--redis-url\0redis://:pw@h\0"),
            [""; 0],
            "a command's own arguments are its own business"
        );
    }

    #[test]
    fn the_blocks_are_those_of_proc_5() {
        let fields: Vec<String> = (3..=52).map(|field: u64| field.to_string()).collect();
        let stat = format!("42 (a) b (c)) {}\n", fields.join(" "));
        assert_eq!(Blocks::of(&stat), Some(Blocks { arguments: (48, 49), environment: (50, 51) }));
        assert_eq!(Blocks::of("42 (x) S 1"), None);
    }
}
