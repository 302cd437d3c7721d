//! A URL as people may see it: without its password, even if the URL is broken.
//!
//! Parts that have a known form are shown, and everything else becomes `***`. The opposite way, cutting out what looks
//! like a password, printed the password of `user:secret@host`, a URL that lacks only its scheme.

const HIDDEN: &str = "***";

/// The URL's scheme, user, host, port and path; a part that does not have the expected form is hidden.
pub(super) fn url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), url),
    };
    // The last `@` ends the password, which may contain others.
    match rest.rsplit_once('@') {
        Some((credentials, place)) => format!("{scheme}{}@{}", user(credentials), shown_place(place)),
        None => format!("{scheme}{}", shown_place(rest)),
    }
}

/// The server and the database that the URL names, and nothing else: no user, no password, no query. Two URLs of one
/// database by the same name of its server give the same address.
pub(super) fn address(url: &str) -> String {
    let shown = self::url(url);
    let (scheme, rest) = shown.split_once("://").unwrap_or(("", &shown));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split('?').next().unwrap_or_default();
    if scheme.ends_with("+unix") {
        return format!("{scheme}://{place}");
    }
    let (server, database) = place.split_once('/').unwrap_or((place, ""));
    let port =
        if server.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']')) { "" } else { ":6379" };
    let database = if database.is_empty() { "0" } else { database };
    format!("{scheme}://{server}{port}/{database}")
}

fn user(credentials: &str) -> String {
    match credentials.split_once(':') {
        Some((user, _)) if is_word(user) => format!("{user}:{HIDDEN}"),
        // Without a colon this should be a user, but by mistake it is often a password.
        _ => HIDDEN.into(),
    }
}

/// `host[:port][/path][?query]`, or `/path` of a socket.
fn shown_place(place: &str) -> String {
    let (place, query) = match place.find(['?', '#']) {
        Some(at) => (&place[..at], "?***"),
        None => (place, ""),
    };
    let (address, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
    let address = if is_address(address) { address } else { HIDDEN };
    let path = if path.contains(':') { "/***" } else { path };
    format!("{address}{path}{query}")
}

fn is_address(address: &str) -> bool {
    let bracketed = address.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_host, port) = match (bracketed, address.split_once(':')) {
        (Some((host, port)), _) => {
            (host.bytes().all(|b| b.is_ascii_hexdigit() || b".:%".contains(&b)), port.strip_prefix(':'))
        }
        (None, Some((host, port))) => (is_word(host), Some(port)),
        (None, None) => (address.is_empty() || is_word(address), None),
    };
    is_host && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+')
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_secret_is_shown_as_it_is() {
        for plain in [
            "redis://127.0.0.1:6379",
            "rediss://store.example.org:6380/2",
            "redis://[::1]:6379/0",
            "redis+unix:///run/redis/redis.sock",
            "localhost:6379",
            "",
        ] {
            assert_eq!(url(plain), plain);
        }
    }

    #[test]
    fn a_password_is_hidden_in_a_url_that_is_right_and_in_one_that_is_broken() {
        for (given, shown) in [
            ("redis://me:s3cret@db:6379/1", "redis://me:***@db:6379/1"),
            ("redis://:s3cret@db", "redis://***@db"),
            ("redis://s3cret@db", "redis://***@db"),
            (":s3cret@host", "***@host"),
            ("user:s3cret@host:6379", "user:***@host:6379"),
            ("redis:/x:s3cret@host", "redis:***@host"),
            ("redis//:s3cret@host", "***@host"),
            ("redis://me:s3@cr/et@db", "redis://me:***@db"),
            ("redis://:s3cret", "redis://***"),
            ("me:s3cret", "***"),
            ("redis://db:6379/0?password=s3cret", "redis://db:6379/0?***"),
            ("redis://db/:s3cret", "redis://db/***"),
        ] {
            assert_eq!(url(given), shown, "{given}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_the_database_is_named_and_whoever_asks() {
        for same in
            ["redis://db", "redis://db:6379", "redis://me:s3cret@db/0", "redis://db:6379/?password=s3cret"]
        {
            assert_eq!(address(same), "redis://db:6379/0", "{same}");
        }
        assert_eq!(address("redis://db:6380/2"), "redis://db:6380/2");
        assert_eq!(address("redis://[::1]"), "redis://[::1]:6379/0");
        assert_eq!(address("redis+unix://me:s3cret@/run/redis.sock?x"), "redis+unix:///run/redis.sock");
        assert!(!address("s3cret:x@y/:s3cret").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn no_form_of_a_url_shows_the_password_in_it(
            before in "(redis://|rediss://|redis:/|redis:|//|/|REDIS://|x y://)?[a-z./]{0,6}",
            password in "[!-~]{0,12}#S3CRET#[!-~]{0,12}",
            after in "(@[a-z]{1,8}(:[0-9]{1,5})?(/[0-9])?(\\?[a-z=]{0,6})?)?",
        ) {
            let shown = url(&format!("{before}:{password}{after}"));
            prop_assert!(!shown.contains("S3CRET"), "{shown}");
            let address = address(&format!("{before}:{password}{after}"));
            prop_assert!(!address.contains("S3CRET"), "{address}");
        }
    }
}
