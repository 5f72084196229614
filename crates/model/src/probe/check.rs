//! The rules that probes of a well-formed experiment keep.

use super::question::{CommandQuestion, HttpQuestion, SqlQuestion};
use super::{Comparison, EVERY_MAX, Measure, PROBE_SPAN_MIN, PROBES_MAX, Probe, TIMEOUT_MAX};
use crate::selector::Selector;
use crate::time::Span;
use serde_json_path::JsonPath;

/// Longest accepted address of a web server, bytes; servers themselves take little more.
const URL_BYTES_MAX: usize = 2000;
/// Longest accepted query, bytes: it is read by people.
const QUERY_BYTES_MAX: usize = 10_000;
/// Most arguments of a program, and most bytes of each.
const ARGS_MAX: usize = 50;
/// Longest accepted argument or path, bytes.
const ARG_BYTES_MAX: usize = 1000;
/// Longest accepted name of a probe, bytes.
const NAME_BYTES_MAX: usize = 100;

/// Says what is wrong with probes: place below `probes`, and a sentence.
pub fn problems(probes: &[Probe], say: &mut impl FnMut(String, String)) {
    if probes.len() > PROBES_MAX {
        say("probes".into(), format!("{} probes; give at most {PROBES_MAX}", probes.len()));
    }
    for (index, probe) in probes.iter().enumerate() {
        let place = format!("probes[{index}]");
        if probe.name.trim().is_empty() || probe.name.len() > NAME_BYTES_MAX {
            say(format!("{place}.name"), format!("give a name of at most {NAME_BYTES_MAX} bytes"));
        }
        if probes[..index].iter().any(|other| other.name == probe.name) {
            say(format!("{place}.name"), format!("there is another probe named {:?}", probe.name));
        }
        for (field, span, most) in [("every", probe.every, EVERY_MAX), ("timeout", probe.timeout, TIMEOUT_MAX)] {
            if span < PROBE_SPAN_MIN || span > most {
                let rule = format!("{span} is outside of {PROBE_SPAN_MIN} to {most}");
                say(format!("{place}.{field}"), rule);
            }
        }
        let mut say_of_measure = |field: &str, message: String| say(format!("{place}.measure.{field}"), message);
        measure_problems(&probe.measure, probe.timeout, &mut say_of_measure);
    }
}

fn measure_problems(measure: &Measure, timeout: Span, say: &mut impl FnMut(&str, String)) {
    match measure {
        Measure::WritesPerSecondAtLeast(_)
        | Measure::AckLatencyAtMost(_)
        | Measure::LagAtMost(_)
        | Measure::ClusterHealthy
        | Measure::OnePrimary => {}
        Measure::RoleCount(wanted) => comparison("role-count.count", &wanted.count, say),
        Measure::Sql(question) => sql(question, say),
        Measure::Http(question) => http(question, timeout, say),
        Measure::Tcp(question) => {
            if let Err(problem) = address(&question.address) {
                say("tcp.address", problem);
            }
            latency("tcp.latency_at_most", question.latency_at_most, timeout, say);
        }
        Measure::Prometheus(question) => {
            if let Err(problem) = url(&question.url) {
                say("prometheus.url", problem);
            }
            if question.query.trim().is_empty() || question.query.len() > QUERY_BYTES_MAX {
                say("prometheus.query", format!("give a query of at most {QUERY_BYTES_MAX} bytes"));
            }
            comparison("prometheus.value", &question.value, say);
        }
        Measure::Command(question) => command(question, say),
    }
}

fn comparison(field: &str, wanted: &Comparison, say: &mut impl FnMut(&str, String)) {
    if let Some(problem) = wanted.problem() {
        say(field, problem);
    }
}

fn latency(field: &str, most: Option<Span>, timeout: Span, say: &mut impl FnMut(&str, String)) {
    if let Some(most) = most.filter(|most| *most == Span::ZERO || *most > timeout) {
        say(field, format!("{most} must be above 0 and at most the probe's timeout, which is {timeout}"));
    }
}

fn target(field: &str, target: &Selector, say: &mut impl FnMut(&str, String)) {
    if target.is_empty() || target.server {
        say(field, "selects nothing; name nodes, hosts, a role, a region or tags".into());
    } else if let Some(problem) = target.contradiction() {
        say(field, problem);
    }
}

fn sql(question: &SqlQuestion, say: &mut impl FnMut(&str, String)) {
    target("sql.target", &question.target, say);
    if let Err(problem) = statement(&question.query) {
        say("sql.query", problem);
    }
    comparison("sql.value", &question.value, say);
}

/// The one statement of a query, without what ends it.
///
/// # Errors
/// It is not one statement that reads; what would be right.
pub fn statement(query: &str) -> Result<&str, String> {
    let query = query.trim().trim_end_matches(';').trim_end();
    let word = query.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_uppercase();
    if !["SELECT", "SHOW", "WITH"].contains(&word.as_str()) {
        return Err("a probe only reads: begin the query with SELECT, SHOW or WITH".into());
    }
    if query.contains(';') {
        return Err("give one statement; a `;` within it is not taken, in a text neither (CHAR(59) is one)".into());
    }
    if query.len() > QUERY_BYTES_MAX || query.contains('\0') {
        return Err(format!("give a query of at most {QUERY_BYTES_MAX} bytes of text"));
    }
    Ok(query)
}

fn http(question: &HttpQuestion, timeout: Span, say: &mut impl FnMut(&str, String)) {
    if let Err(problem) = url(&question.url) {
        say("http.url", problem);
    }
    if question.status.is_some_and(|status| !(100..600).contains(&status)) {
        say("http.status", "a status is a number from 100 to 599".into());
    }
    latency("http.latency_at_most", question.latency_at_most, timeout, say);
    if let Some(check) = &question.json {
        if let Err(error) = JsonPath::parse(&check.path) {
            say(
                "http.json.path",
                format!("{:?} is not a JSONPath such as $.status or $.queues[*].depth: {error}", check.path),
            );
        }
        comparison("http.json.value", &check.value, say);
    }
}

/// Only what can be told without looking the name up.
fn url(url: &str) -> Result<(), String> {
    let wrong = || format!("{url:?} is not an address such as http://shop.example:8080/health");
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return Err(format!("{}; it begins with http:// or https://", wrong())) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user in an address would stand in every report; leave it out".into());
    }
    let odd = url.bytes().any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace());
    if authority.is_empty() || authority.starts_with(':') || odd || url.len() > URL_BYTES_MAX {
        return Err(wrong());
    }
    Ok(())
}

fn address(address: &str) -> Result<(), String> {
    let parts = address.rsplit_once(':');
    let good = parts.is_some_and(|(host, port)| {
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets the last part of an IPv6 address would be its port.
        let named = inside.map_or(!host.is_empty() && !host.contains(':'), |inside| !inside.is_empty());
        named && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let odd = address.bytes().any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace() || byte == b'/');
    if good && !odd && address.len() <= URL_BYTES_MAX {
        return Ok(());
    }
    Err(format!("{address:?} is not host:port, such as 10.0.0.7:3306 or [fd00::7]:3306"))
}

fn command(question: &CommandQuestion, say: &mut impl FnMut(&str, String)) {
    target("command.target", &question.target, say);
    if !question.program.starts_with('/') || question.program.len() > ARG_BYTES_MAX {
        say("command.program", "give the whole path of a program, such as /usr/local/bin/check-shop".into());
    }
    let long = question.args.iter().any(|arg| arg.len() > ARG_BYTES_MAX || arg.contains('\0'));
    if question.args.len() > ARGS_MAX || long {
        say("command.args", format!("give at most {ARGS_MAX} arguments of at most {ARG_BYTES_MAX} bytes each"));
    }
    if let Some(wanted) = &question.output {
        comparison("command.output", wanted, say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_reading_statement_is_taken() {
        for good in ["SELECT 1", " select\n1 ; ", "SHOW STATUS LIKE 'x'", "WITH a AS (SELECT 1) SELECT * FROM a;"] {
            assert!(statement(good).is_ok(), "{good}");
        }
        for bad in
            ["", ";", "DELETE FROM t", "SELECT 1; DROP TABLE t", "SELECTED", "/* */ SELECT 1", "SET x=1", "(SELECT 1)"]
        {
            assert!(statement(bad).is_err(), "{bad}");
        }
        assert_eq!(statement(" SELECT 1 ;; "), Ok("SELECT 1"));
    }

    #[test]
    fn addresses_are_of_their_form() {
        for good in ["http://x", "https://x.example:8080/a?b=c", "http://[::1]:9090/"] {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "x",
            "ftp://x/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://a b/",
            "http://me:pw@x/",
            "http://:80",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        for good in ["x:1", "10.0.0.1:3306", "[::1]:80"] {
            assert_eq!(address(good), Ok(()), "{good}");
        }
        for bad in ["", "x", "x:", ":80", "x:0", "x:65536", "http://x:80", "fd00::7", "a b:80", "[]:80"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Whatever is taken is one statement that begins with a word that reads.
        #[test]
        fn nothing_that_writes_slips_through(text in "[ -~\n]{0,60}") {
            if let Ok(taken) = statement(&text) {
                prop_assert!(!taken.contains(';'));
                let upper = taken.to_ascii_uppercase();
                prop_assert!(["SELECT", "SHOW", "WITH"].iter().any(|word| upper.starts_with(word)));
                prop_assert_eq!(statement(taken), Ok(taken));
            }
        }

        #[test]
        fn a_url_that_is_taken_is_of_the_web(text in "[a-z:/@. \t]{0,30}") {
            if url(&text).is_ok() {
                prop_assert!(text.starts_with("http://") || text.starts_with("https://"));
                prop_assert!(!text.contains(' ') && !text.contains('\t'));
            }
        }
    }
}
