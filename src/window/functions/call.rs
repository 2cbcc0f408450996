//! A call of a function, as documents write it.

use crate::topology::suggest;
use crate::window::functions::function::Function;

/// A function, what it is applied to, and which tuples count.
///
/// # Examples
/// ```
/// use squall::window::{Call, Function};
///
/// let call = Call::parse("percentile(ms / 1000.0, 95) where status < 500")?;
/// assert_eq!(call.function, Function::Percentile(95.0));
/// assert_eq!(call.argument.as_deref(), Some("ms / 1000.0"));
/// assert_eq!(call.condition.as_deref(), Some("status < 500"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// The field or the expression whose value it takes.
    pub argument: Option<String>,
    /// The expression that decides whether a tuple counts. Without one, all do.
    pub condition: Option<String>,
}

impl Call {
    /// Reads a call: `FUNCTION(ARGUMENT, NUMBER) where CONDITION`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Call, String> {
        let (call, condition) = split_condition(text);
        let (name, inside) = call
            .trim()
            .strip_suffix(')')
            .and_then(|call| call.split_once('('))
            .ok_or_else(|| no_call(call.trim()))?;
        let arguments = split_arguments(inside);
        let name = name.trim();
        let (argument, number) = match arguments.as_slice() {
            [] => (None, None),
            [argument] => (Some(*argument), None),
            [argument, number] => (Some(*argument), Some(*number)),
            _ => return Err(format!("`{name}` takes a field, and at most one number behind it")),
        };
        let function = function(name, argument.is_some(), number)?;
        let owned = |text: &str| text.trim().to_owned();
        let condition = condition.map(owned);
        if condition.as_deref().is_some_and(str::is_empty) {
            return Err("nothing stands behind `where`".to_owned());
        }
        Ok(Call { function, argument: argument.map(owned), condition })
    }
}

fn function(name: &str, has_argument: bool, number: Option<&str>) -> Result<Function, String> {
    let function = match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "min" => Function::Min,
        "max" => Function::Max,
        "avg" => Function::Avg,
        "first" => Function::First,
        "last" => Function::Last,
        "any" => Function::Any,
        "collect" => Function::Collect(number.map(|number| how_many("collect", number)).transpose()?),
        "top" => {
            let number = number.ok_or("`top` needs a number, as in `top(page, 10)`")?;
            Function::Top(how_many("top", number)?)
        }
        "distinct" => Function::Distinct,
        "distinct_approx" => Function::DistinctApprox,
        "percentile" => {
            let number = number.ok_or("`percentile` needs a number, as in `percentile(ms, 95)`")?;
            Function::Percentile(percent(number)?)
        }
        "variance" => Function::Variance,
        "stddev" => Function::Stddev,
        other => return Err(unknown(other)),
    };
    let takes_number = matches!(function, Function::Collect(_) | Function::Top(_) | Function::Percentile(_));
    if number.is_some() && !takes_number {
        return Err(format!("`{name}` takes no number, only a field: `{name}(FIELD)`"));
    }
    if !has_argument && function != Function::Count {
        return Err(format!("`{name}` needs a field: `{name}(FIELD)`"));
    }
    Ok(function)
}

fn how_many(name: &str, number: &str) -> Result<usize, String> {
    let number = number.trim();
    let many = number.parse().ok().filter(|many| *many > 0);
    many.ok_or_else(|| format!("`{name}` takes a whole number from 1 as its second argument, not `{number}`"))
}

fn percent(number: &str) -> Result<f64, String> {
    let number = number.trim();
    let percent = number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| {
        format!("`percentile` takes a number from 0 to 100 as its second argument, not `{number}`")
    })
}

fn no_call(text: &str) -> String {
    match Function::NAMES.contains(&text) {
        true if text == "count" => "write `count()`".to_owned(),
        true => format!("write `{text}(FIELD)`"),
        false => format!("`{text}` is no call of a function, as `count()` or `sum(bytes)` is"),
    }
}

fn unknown(name: &str) -> String {
    let help = match suggest::closest(name, Function::NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", Function::NAMES.join(", ")),
    };
    format!("there is no function `{name}`; {help}")
}

/// Splits at ` where `, if it stands outside of quotes and brackets.
fn split_condition(text: &str) -> (&str, Option<&str>) {
    const WHERE: &str = "where";
    let is_border = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_whitespace() || byte == b')');
    let mut scan = Scan::default();
    for (at, byte) in text.bytes().enumerate() {
        if scan.is_outside()
            && text.as_bytes()[at..].starts_with(WHERE.as_bytes())
            && at > 0
            && is_border(text.as_bytes().get(at - 1).copied())
            && text
                .as_bytes()
                .get(at + WHERE.len())
                .is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'(')
        {
            return (&text[..at], Some(&text[at + WHERE.len()..]));
        }
        scan.take(byte);
    }
    (text, None)
}

/// Splits at commas that stand outside of quotes and brackets. What is blank is no argument.
fn split_arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut begin, mut scan) = (Vec::new(), 0, Scan::default());
    for (at, byte) in text.bytes().enumerate() {
        if byte == b',' && scan.is_outside() {
            arguments.push(&text[begin..at]);
            begin = at + 1;
        }
        scan.take(byte);
    }
    if !arguments.is_empty() || !text.trim().is_empty() {
        arguments.push(&text[begin..]);
    }
    arguments
}

/// Whether a place of a text is within quotes or brackets.
#[derive(Default)]
struct Scan {
    depth: usize,
    quote: Option<u8>,
    escaped: bool,
}

impl Scan {
    fn is_outside(&self) -> bool {
        self.depth == 0 && self.quote.is_none()
    }

    fn take(&mut self, byte: u8) {
        if let Some(quote) = self.quote {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == quote {
                self.quote = None;
            }
            return;
        }
        match byte {
            b'"' | b'\'' | b'`' => self.quote = Some(byte),
            b'(' | b'[' | b'{' => self.depth += 1,
            b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let check = |text: &str, function: Function, argument: Option<&str>, condition: Option<&str>| {
            let call = Call::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let parts = (call.function, call.argument.as_deref(), call.condition.as_deref());
            assert_eq!(parts, (function, argument, condition), "{text}");
        };
        check("count()", Function::Count, None, None);
        check(" count ( ) ", Function::Count, None, None);
        check("count(user)", Function::Count, Some("user"), None);
        check("sum(price * amount)", Function::Sum, Some("price * amount"), None);
        check("top(page, 3)", Function::Top(3), Some("page"), None);
        check("collect(page)", Function::Collect(None), Some("page"), None);
        check("percentile(max(a, b), 99.9)", Function::Percentile(99.9), Some("max(a, b)"), None);
        check("count() where status >= 500", Function::Count, None, Some("status >= 500"));
        check("count()where(a == \"x where y\")", Function::Count, None, Some("(a == \"x where y\")"));
        check("sum(f(\"a, where )\"))", Function::Sum, Some("f(\"a, where )\")"), None);
        check("sum(whereabouts)", Function::Sum, Some("whereabouts"), None);
    }

    #[test]
    fn wrong_calls_say_what_to_write() {
        let check = |text: &str, expected: &str| {
            let error = Call::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("count", "write `count()`");
        check("sum", "write `sum(FIELD)`");
        check("bytes", "`bytes` is no call of a function");
        check("", "is no call");
        check("summ(bytes)", "did you mean `sum`?");
        check("median(x)", "there is no function `median`");
        check("sum()", "`sum` needs a field");
        check("sum(a, 3)", "takes no number");
        check("top(a)", "needs a number");
        check("top(a, 0)", "from 1");
        check("percentile(a, 101)", "from 0 to 100");
        check("max(a, b, c)", "at most one number");
        check("count() where ", "nothing stands behind");
    }
}
