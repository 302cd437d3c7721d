//! The metrics a PromQL expression names.
//!
//! This is no parser: Prometheus itself says whether an expression is right, and Grafana's variables are no PromQL. Every word
//! is a metric unless it stands in braces (labels), in brackets (durations), in quotes or in the parentheses after `by` and
//! its like, is followed by `(`, `by` or `without` (functions), or belongs to the language.

use std::collections::BTreeSet;

/// Words with a list of labels in parentheses after them.
const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words of the language that stand alone.
const KEYWORDS: &[&str] = &["and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"];

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Other,
}

/// The names, sorted, each once.
///
/// # Errors
/// In words, when a bracket, a brace or a quote is not closed, or a metric is named by `__name__`.
pub(crate) fn metrics(expression: &str) -> Result<BTreeSet<String>, String> {
    let tokens = tokens(expression)?;
    let mut names = BTreeSet::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        let Token::Word(word) = token else { continue };
        let lower = word.to_ascii_lowercase();
        if GROUPING.contains(&lower.as_str()) {
            if tokens.get(index) == Some(&Token::Open) {
                index = after_labels(&tokens, index);
            }
        } else if !KEYWORDS.contains(&lower.as_str()) && !is_function(tokens.get(index)) {
            names.insert((*word).to_owned());
        }
    }
    Ok(names)
}

/// `sum(…)`, but also `sum by (…) (…)`.
fn is_function(next: Option<&Token<'_>>) -> bool {
    match next {
        Some(Token::Open) => true,
        Some(Token::Word(word)) => ["by", "without"].contains(&word.to_ascii_lowercase().as_str()),
        _ => false,
    }
}

/// Lists of labels are not nested.
fn after_labels(tokens: &[Token<'_>], open: usize) -> usize {
    let close = tokens.iter().skip(open).position(|token| *token == Token::Close);
    close.map_or(tokens.len(), |close| open + close + 1)
}

fn tokens(expression: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' | '\'' | '`' => quoted(rest, first)?,
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '[' => enclosed(rest, ']')?,
            '{' => {
                let taken = enclosed(rest, '}')?;
                if rest.get(..taken).is_some_and(|labels| labels.contains("__name__")) {
                    return Err("a metric is named by __name__: write its name before the braces".into());
                }
                taken
            }
            '$' => variable(rest)?,
            first if first.is_ascii_digit() || first == '.' => number(rest),
            first if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest.get(..length).unwrap_or_default()));
                length
            }
            other => {
                tokens.push(match other {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    other if other.is_whitespace() => {
                        rest = rest.get(other.len_utf8()..).unwrap_or_default();
                        continue;
                    }
                    _ => Token::Other,
                });
                other.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Length of a string with its quotes.
fn quoted(text: &str, quote: char) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

/// Length up to and with `close`, which does not count inside quotes.
fn enclosed(text: &str, close: char) -> Result<usize, String> {
    let mut at = 1;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        at += match c {
            '"' | '\'' | '`' => quoted(text.get(at..).unwrap_or_default(), c)?,
            c if c == close => return Ok(at + 1),
            c => c.len_utf8(),
        };
    }
    Err(format!("there is no {close} for the {}", text.get(..1).unwrap_or_default()))
}

/// `$name` and `${name:format}`, which Grafana replaces.
fn variable(text: &str) -> Result<usize, String> {
    if text.starts_with("${") {
        return Ok(1 + enclosed(text.get(1..).unwrap_or_default(), '}')?);
    }
    let name = text.get(1..).unwrap_or_default();
    Ok(1 + name.find(|c| !is_word(c)).unwrap_or(name.len()))
}

/// Numbers and durations: `5`, `100e6`, `1e-3`, `0x1f`, `5m`.
fn number(text: &str) -> usize {
    let mut previous = ' ';
    let end = text.find(|c: char| {
        let sign = (c == '-' || c == '+') && previous.eq_ignore_ascii_case(&'e');
        let inside = c.is_ascii_alphanumeric() || c == '.' || sign;
        previous = c;
        !inside
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::metrics;

    #[track_caller]
    fn check(expression: &str, expected: &[&str]) {
        let names = metrics(expression).unwrap();
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{expression}");
    }

    #[test]
    fn labels_functions_durations_and_words_are_no_metrics() {
        check("agent_count_total{state=\"active\"}", &["agent_count_total"]);
        check("rate(agent_orphan_cleanup_count[5m])", &["agent_orphan_cleanup_count"]);
        check("max by (state, role) (a{b!~\"c|d\", e='f'}) > 100e6", &["a"]);
        check("max(a) by (state)", &["a"]);
        check("histogram_quantile(0.95, sum by (le) (rate(a_seconds_bucket[5m])))", &["a_seconds_bucket"]);
        check("a unless on (x) b offset 5m or vector(0) == bool 1e-3", &["a", "b"]);
        check("a * on(x) group_left(y) b * ON(x) group_left b2", &["a", "b", "b2"]);
        check("topk(10, a) - NaN + Inf # not c", &["a"]);
        check("rate(a[$__rate_interval]) + ${offset:raw} + $more", &["a"]);
        check("sum_over_time(job:a:sum[5m:30s] @ end())", &["job:a:sum"]);
        check("", &[]);
    }

    #[test]
    fn what_stands_in_quotes_is_no_metric_even_if_it_looks_like_the_end_of_them() {
        check(r#"label_replace(a{b="} c {", d='\'] e', f=`\`}, "g", "$1", "h", "(.*)")"#, &["a"]);
    }

    #[test]
    fn a_metric_like_a_function_is_one_where_no_parenthesis_follows() {
        check("rate + sum(max)", &["max", "rate"]);
    }

    #[test]
    fn what_is_not_closed_is_said() {
        assert_eq!(metrics("rate(a[5m)").unwrap_err(), "there is no ] for the [");
        assert_eq!(metrics("a{b=\"c}").unwrap_err(), "the quote \" is not closed");
        assert!(metrics("{__name__=\"a\"}").unwrap_err().contains("before the braces"));
    }
}
