//! Why a server refuses a command. It is read once, from the code at the beginning of the reply, and is an enum from
//! there on.
//!
//! A caller mainly needs to know whether the refusal passes by itself. A store that is full, busy or loading is away
//! for a while. A user without a right stays without it until a person acts.

/// Why a command was refused. Nothing was written by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `OOM`: the store's memory is full.
    Full,
    /// `MISCONF`: it cannot save to its disk, and takes no writes meanwhile.
    CannotSave,
    /// `BUSY`: it is running a slow script.
    Busy,
    /// `LOADING`: it is reading its data after a start.
    Loading,
    /// `READONLY`: it is a replica, or has just become one.
    ReadOnly,
    /// `MASTERDOWN`: it is a replica that lost its primary, and answers no reads.
    PrimaryDown,
    /// `NOREPLICAS`: fewer replicas follow it than its configuration requires.
    TooFewReplicas,
    /// `CLUSTERDOWN`: some slots of the cluster have no node.
    ClusterDown,
    /// `TRYAGAIN`: the cluster is moving the slot to another node.
    TryAgain,
    /// `MOVED`, `ASK`, `CROSSSLOT`: it is a node of a cluster, where none of our scripts can run.
    NotHere,
    /// `NOAUTH`: it wants a password and got none.
    PasswordWanted,
    /// `WRONGPASS`: user or password are wrong.
    PasswordWrong,
    /// `NOPERM`: the user lacks a right.
    NotPermitted,
    /// `WRONGTYPE`: a key holds another type.
    WrongType,
    /// Any other reply.
    Other,
}

/// The codes with which replies begin.
const CODES: [(&str, Refusal); 16] = [
    ("OOM", Refusal::Full),
    ("MISCONF", Refusal::CannotSave),
    ("BUSY", Refusal::Busy),
    ("LOADING", Refusal::Loading),
    ("READONLY", Refusal::ReadOnly),
    ("MASTERDOWN", Refusal::PrimaryDown),
    ("NOREPLICAS", Refusal::TooFewReplicas),
    ("CLUSTERDOWN", Refusal::ClusterDown),
    ("TRYAGAIN", Refusal::TryAgain),
    ("MOVED", Refusal::NotHere),
    ("ASK", Refusal::NotHere),
    ("CROSSSLOT", Refusal::NotHere),
    ("NOAUTH", Refusal::PasswordWanted),
    ("WRONGPASS", Refusal::PasswordWrong),
    ("NOPERM", Refusal::NotPermitted),
    ("WRONGTYPE", Refusal::WrongType),
];

/// The beginnings of replies to a script whose user lacks the right to an inner command (Redis up to 7.0, and others).
const DENIED_IN_SCRIPT: [&str; 2] = ["ERR The user executing the script can't", "ERR ACL failure in script"];

impl Refusal {
    /// Reads a reply. Scripts up to Redis 6 wrap the code of an inner command: `ERR Error running script …: -OOM …`.
    #[must_use]
    pub fn of(reply: &str) -> Self {
        if DENIED_IN_SCRIPT.iter().any(|begin| reply.starts_with(begin)) {
            return Self::NotPermitted;
        }
        let known = |word: &str| {
            let word = word.trim_start_matches('-');
            CODES.iter().find(|(code, _)| *code == word).map(|(_, refusal)| *refusal)
        };
        let mut words = reply.split_whitespace();
        match words.next() {
            Some("ERR") if reply.starts_with("ERR Error running script") => words.find_map(known),
            Some(first) => known(first),
            None => None,
        }
        .unwrap_or(Self::Other)
    }

    /// Whether the same command may succeed later without anybody's help.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Full
            | Self::CannotSave
            | Self::Busy
            | Self::Loading
            | Self::ReadOnly
            | Self::PrimaryDown
            | Self::TooFewReplicas
            | Self::ClusterDown
            | Self::TryAgain => true,
            Self::NotHere
            | Self::PasswordWanted
            | Self::PasswordWrong
            | Self::NotPermitted
            | Self::WrongType
            | Self::Other => false,
        }
    }

    /// What a person can do about it; `None` where the server's reply says so itself.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Full => Some("the store is full: raise maxmemory, or remove keys of other programs"),
            Self::PasswordWanted | Self::PasswordWrong => {
                Some("set redis.password, or put it into redis.url")
            }
            Self::NotPermitted => {
                Some("grant the right to this user with ACL SETUSER, or name another user in redis.url")
            }
            Self::ReadOnly => Some("set redis.url to the primary"),
            _ => None,
        }
    }
}

/// A reply without the part that only tells where in a script it arose.
pub(crate) fn said(reply: &str) -> &str {
    let said = match Refusal::of(reply) {
        // Without a known code the whole reply is shown.
        Refusal::Other => reply,
        _ => reply.find(" script: ").map_or(reply, |end| &reply[..end]),
    };
    said.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Redis 7.0.15 and Valkey 9.1.2 reply, to commands and from within scripts; the last as Redis 6.2 does.
    const REPLIES: [(&str, Refusal); 17] = [
        ("OOM command not allowed when used memory > 'maxmemory'.", Refusal::Full),
        (
            "OOM command not allowed when used memory > 'maxmemory'. script: 9709f70, on @user_script:1.",
            Refusal::Full,
        ),
        ("OOM command not allowed when used memory > 'maxmemory'. script: on @user_script:1.", Refusal::Full),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            Refusal::CannotSave,
        ),
        (
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            Refusal::Busy,
        ),
        ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
        (
            "READONLY You can't write against a read only replica. script: 97, on @user_script:1.",
            Refusal::ReadOnly,
        ),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            Refusal::PrimaryDown,
        ),
        ("NOREPLICAS Not enough good replicas to write.", Refusal::TooFewReplicas),
        ("CLUSTERDOWN Hash slot not served", Refusal::ClusterDown),
        ("CROSSSLOT Keys in request don't hash to the same slot", Refusal::NotHere),
        ("NOPERM this user has no permissions to run the 'hset' command", Refusal::NotPermitted),
        (
            "ERR The user executing the script can't run this command or subcommand script: 71f32a4, on @user_script:2.",
            Refusal::NotPermitted,
        ),
        (
            "ERR ACL failure in script: User bob has no permissions to run the 'hset' command script: on @user_script:2.",
            Refusal::NotPermitted,
        ),
        ("ERR user_script:1: Script attempted to access nonexistent global variable 'x'", Refusal::Other),
        (
            "ERR Error running script (call to f_97): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
            Refusal::Full,
        ),
        (
            "ERR Error running script (call to f_97): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value",
            Refusal::WrongType,
        ),
    ];

    #[test]
    fn what_servers_really_reply_is_told_apart_also_from_within_scripts() {
        for (reply, refusal) in REPLIES {
            assert_eq!(Refusal::of(reply), refusal, "{reply}");
        }
        assert_eq!(Refusal::of(""), Refusal::Other);
        assert_eq!(Refusal::of("ERR the word OOM in a message is no code"), Refusal::Other);
        assert_eq!(Refusal::of("BUSYGROUP Consumer Group name already exists"), Refusal::Other);
    }

    #[test]
    fn what_a_person_has_to_put_right_does_not_pass() {
        for (code, refusal) in CODES {
            let lasting = ["MOVED", "ASK", "CROSSSLOT", "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE"];
            assert_eq!(refusal.passes(), !lasting.contains(&code), "{code}");
        }
        assert!(!Refusal::Other.passes());
    }

    #[test]
    fn where_in_a_script_it_arose_is_left_out_where_the_code_says_it_all() {
        assert_eq!(said(REPLIES[1].0), "OOM command not allowed when used memory > 'maxmemory'");
        assert_eq!(said("ERR odd script: 1, on 2."), "ERR odd script: 1, on 2");
    }
}
