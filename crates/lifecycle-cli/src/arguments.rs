//! The options of every command line, and how a wrong command line is refused.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser};
use clap_complete::Shell;
use lifecycle_core::settings::{self, Settings};

use crate::exit::{self, Failure};
use crate::output::{self, Output};
use crate::settings::{Override, SettingsError, Sources};
use crate::{logging, secrets};

/// Set on each option: a heading on the struct would also take the options that stand after it.
const HEADING: &str = "Options of every command";

/// The one flag whose value may hold a secret.
const REDIS_URL: &str = "--redis-url";

/// The options of every command; put them into a command line with `#[command(flatten)]`.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Settings file, instead of lifecycle.toml in the current folder if that exists
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The flag of `redis.url`
    #[arg(long, global = true, help = settings::help("redis.url"), help_heading = HEADING, value_name = "URL")]
    pub redis_url: Option<String>,

    /// How data is written to stdout [default: table]
    #[arg(long, global = true, help_heading = HEADING, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,

    /// The flag of `log.level`
    #[arg(long, global = true, help = settings::help("log.level"), help_heading = HEADING, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl GlobalArgs {
    /// The sources of the settings of this process. A command with further flags adds them with
    /// [`Sources::with_flag`].
    #[must_use]
    pub fn sources(&self) -> Sources {
        self.over(Sources::of_process(self.config.clone()))
    }

    /// Loads the settings, and hides the secret ones from other processes. Must be called before any thread is started.
    ///
    /// # Errors
    /// All mistakes in the settings at once.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        Self::load_from(self.sources(), Vec::new())
    }

    fn load_from(mut sources: Sources, stronger: Vec<Override>) -> Result<Settings, SettingsError> {
        sources.overrides.extend(stronger);
        let settings = sources.load();
        if let Err(error) = secrets::hide(REDIS_URL) {
            // There is no log yet.
            let _ = writeln!(
                std::io::stderr(),
                "warning: other processes of this user may be able to read how the store is reached: {error}"
            );
        }
        settings
    }

    /// How data is written: as was asked for, or as a table.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output.unwrap_or_default()
    }

    /// As [`GlobalArgs::start`], but logs only warnings unless a level is set somewhere. For a command whose stderr
    /// belongs to the program it runs, or that reports by itself what happens.
    ///
    /// # Errors
    /// Those of [`GlobalArgs::start`].
    pub fn start_quietly(&self) -> anyhow::Result<Settings> {
        self.start_quietly_over(Vec::new())
    }

    /// As [`GlobalArgs::start_quietly`], with values that win over all others.
    ///
    /// # Errors
    /// Those of [`GlobalArgs::start`].
    pub fn start_quietly_over(&self, stronger: Vec<Override>) -> anyhow::Result<Settings> {
        let settings = Self::load_from(self.sources().with_default("log.level", "warn"), stronger)?;
        logging::start(&settings.log)?;
        Ok(settings)
    }

    /// Loads the settings, and starts logging accordingly. It is the first thing that a command does.
    ///
    /// # Errors
    /// Those of [`GlobalArgs::load`] and [`logging::start`].
    pub fn start(&self) -> anyhow::Result<Settings> {
        let settings = self.load()?;
        logging::start(&settings.log)?;
        Ok(settings)
    }

    fn over(&self, sources: Sources) -> Sources {
        sources.with_flag(REDIS_URL, "redis.url", self.redis_url.as_ref()).with_flag(
            "--log-level",
            "log.level",
            self.log_level.as_ref(),
        )
    }
}

/// `completions SHELL`: a subcommand for every binary.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// The shell to complete for
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Completions {
    /// Prints the completion script of the command line `P` on stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print<P: CommandFactory>(&self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        let mut command = P::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        output::print_stdout(&String::from_utf8_lossy(&script))?;
        Ok(exit::OK)
    }
}

/// The whole `main` of a binary: reads the command line, runs the command and ends with its exit code.
///
/// `--help` and `--version` print on stdout and end with 0. A command line that is wrong ends with 2 and one line on stderr; one
/// without a command, with the help on stderr.
pub fn run<P: Parser>(command: impl FnOnce(P) -> anyhow::Result<u8>) -> ExitCode {
    exit::main(|| match P::try_parse() {
        Ok(arguments) => command(arguments),
        Err(mut error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => quietly(&error, exit::OK),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => quietly(&error, exit::USAGE),
            _ => {
                suggest_no_end(&mut error);
                Err(Failure::new(exit::USAGE, one_line(&error)).into())
            }
        },
    })
}

/// Prints help. If the reader has gone, it has seen enough.
fn quietly(help: &clap::Error, code: u8) -> anyhow::Result<u8> {
    match help.print() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    }
}

/// Commands that end work. A person who mistyped another word must not be led to one of them.
const ENDS_WORK: [&str; 7] = ["stop", "reap", "drain", "kill", "cancel", "restart", "close"];

/// Removes commands that end work from clap's tips: for `top` clap would suggest `stop`.
fn suggest_no_end(error: &mut clap::Error) {
    let suggested = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        _ => return,
    };
    error.remove(ContextKind::SuggestedSubcommand);
    let harmless: Vec<String> =
        suggested.into_iter().filter(|word| !ENDS_WORK.contains(&word.as_str())).collect();
    if !harmless.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(harmless));
    }
}

/// clap's error without its layout: what is wrong, the tip if there is one, and where to read on.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if !words.is_empty() && !words.starts_with("Usage:") && !words.starts_with("For more information") {
            parts.push(words.trim_start_matches("error: ").to_owned());
        }
    }
    parts.push("see --help".into());
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "sweeper", version)]
    struct Cli {
        #[command(flatten)]
        global: GlobalArgs,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, Subcommand)]
    enum Command {
        /// One pass
        Sweep {
            #[arg(long)]
            dry_run: bool,
            #[arg(long)]
            id: String,
        },
        /// Ends somebody's work
        Stop,
        /// And so does this
        Drain,
        /// Shell completions
        Completions(Completions),
    }

    #[test]
    fn no_mistyped_word_leads_to_a_command_that_ends_work() {
        for word in ["top", "sto", "stp", "drian", "drai"] {
            assert_eq!(refused(&[word]), format!("unrecognized subcommand '{word}'; see --help"));
        }
    }

    fn refused(arguments: &[&str]) -> String {
        let all = std::iter::once("sweeper").chain(arguments.iter().copied());
        let mut error = Cli::try_parse_from(all).unwrap_err();
        suggest_no_end(&mut error);
        one_line(&error)
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "sweeper --redis-url redis://a --output json sweep --id x --dry-run",
            "sweeper sweep --id x --dry-run --output json --redis-url redis://a",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.redis_url.as_deref(), Some("redis://a"));
            assert_eq!(cli.global.output(), Output::Json);
            assert!(matches!(cli.command, Command::Sweep { dry_run: true, .. }));
        }
    }

    #[test]
    fn flags_that_were_given_become_settings() {
        let global = GlobalArgs {
            redis_url: Some("redis://a:1".into()),
            log_level: Some("off".into()),
            ..GlobalArgs::default()
        };
        let settings = global.over(Sources::default()).load().unwrap();
        assert_eq!((settings.redis.url.as_str(), settings.log.level.as_str()), ("redis://a:1", "off"));
        assert_eq!(GlobalArgs::default().over(Sources::default()).load().unwrap(), Settings::default());
    }

    #[test]
    fn a_wrong_command_line_is_refused_in_one_line() {
        assert_eq!(
            refused(&["sweep", "--id", "x", "--dry-rum"]),
            "unexpected argument '--dry-rum' found; tip: a similar argument exists: '--dry-run'; see --help"
        );
        assert_eq!(
            refused(&["sweep"]),
            "the following required arguments were not provided: --id <ID>; see --help"
        );
        assert_eq!(
            refused(&["--output", "xml", "sweep", "--id", "x"]),
            "invalid value 'xml' for '--output <FORMAT>' [possible values: table, json]; see --help"
        );
        assert_eq!(
            refused(&["swep"]),
            "unrecognized subcommand 'swep'; tip: a similar subcommand exists: 'sweep'; see --help"
        );
    }
}
