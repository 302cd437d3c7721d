//! The one table of settings: each is written once, in [`super`], and everything that tells of it is made from there.
//!
//! ```text
//!   section! { … }  ──▶ the type with its documentation    rustdoc, serde
//!                   ──▶ its Default                        what holds when nobody sets anything
//!                   ──▶ Setting { name, default, about }   --help, and README (a test compares)
//! ```

use serde::Serialize;

/// One setting, as `--help` and README tell of it.
pub(super) struct Setting {
    /// Its name, such as `sweep.interval`.
    pub(super) name: &'static str,
    /// What holds when nobody sets it: the value in backticks, or words where there is none.
    pub(super) default: String,
    /// What it is for: the first paragraph of its documentation, in Markdown.
    pub(super) about: String,
}

/// What `--help` says of a flag for this setting: what it is for, its name and its default.
#[must_use]
pub fn help(name: &str) -> String {
    let found = super::Settings::table().into_iter().find(|setting| setting.name == name);
    debug_assert!(found.is_some(), "there is no setting {name:?}");
    let line = found.map(|Setting { default, about, .. }| {
        format!("{} [setting {name}; default: {default}]", about.trim_end_matches('.')).replace('`', "")
    });
    line.unwrap_or_default()
}

/// Defines sections of settings: structs with a default for each field.
///
/// The first paragraph of a field's documentation is what people read of the setting. `None => "words"` says what holds
/// without a value.
macro_rules! section {
    ($(
        $(#[$attribute:meta])*
        pub struct $Section:ident in $path:literal {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])?
                pub $key:ident: $Value:ty = $default:expr $(=> $words:literal)?,
            )*
            $(sections {
                $(
                    $(#[doc = $inner_doc:literal])+
                    pub $inner:ident: $Inner:ty,
                )*
            })?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Section {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)*)])?
                pub $key: $Value,
            )*
            $($(
                $(#[doc = $inner_doc])+
                pub $inner: $Inner,
            )*)?
        }

        impl Default for $Section {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    $($($inner: <$Inner>::default(),)*)?
                }
            }
        }

        impl $Section {
            /// The settings of this section and of those within it.
            fn table() -> Vec<table::Setting> {
                let own = [$(
                    table::Setting {
                        name: concat!($path, ".", stringify!($key)),
                        default: table::default_text(&Self::default(), stringify!($key), &[$($words)?]),
                        about: table::first_paragraph(&[$($doc),+]),
                    },
                )*];
                own.into_iter()$($(.chain(<$Inner>::table()))*)?.collect()
            }
        }
    )*};
}
pub(super) use section;

/// The default as people would write it, or the words for there being none.
pub(super) fn default_text(section: &impl Serialize, key: &str, words: &[&str]) -> String {
    if let [words] = words {
        return (*words).to_owned();
    }
    match serde_json::to_value(section).unwrap_or_default().get(key) {
        Some(serde_json::Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
        None => String::new(),
    }
}

/// The lines of a documentation until the first that is empty.
pub(super) fn first_paragraph(documentation: &[&str]) -> String {
    let lines = documentation.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn readme_has_the_table_of_settings() {
        let rows = Settings::table().into_iter().map(|Setting { name, default, about }| {
            format!("| `{name}` | {default} | {} |\n", about.trim_end_matches('.'))
        });
        let block = format!(
            "<!-- settings:begin -->\n\
             | setting | default | what it is |\n|---|---|---|\n{}<!-- settings:end -->\n",
            rows.collect::<String>()
        );
        let readme = include_str!("../../../../README.md");
        assert!(
            readme.contains(&block),
            "README tells of other settings than settings.rs; this is what it should say:\n\n{block}"
        );
    }

    #[test]
    fn every_setting_has_a_default_and_is_told_of_in_one_cell() {
        for Setting { name, default, about } in Settings::table() {
            assert!(
                !default.is_empty() && default != "`null`",
                "{name}: say with `=>` what holds without a value"
            );
            assert!(!about.is_empty() && !about.contains('|') && about.ends_with('.'), "{name}: {about}");
        }
    }

    #[test]
    fn help_names_the_setting_and_its_default() {
        assert_eq!(
            help("http.listen"),
            "Where the sweeper serves /metrics, /healthz and /readyz [setting http.listen; default: 127.0.0.1:9464]"
        );
        assert!(help("redis.tls.ca").ends_with("[setting redis.tls.ca; default: what the machine trusts]"));
    }
}
