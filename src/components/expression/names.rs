//! Fields by name in an expression.
//!
//! A field whose name is a plain word is a variable. Any name can be written `field("user-agent")`.
//! Words that Rhai reserves without using them (`type`, `default`, `case`, `thread` …) are plain
//! words here; those that it uses (`if`, `in`, `true` …) need `field("in")`.
//!
//! Both are done while the expression is cut into tokens: the text in `field("…")` becomes a variable
//! of that name, whatever the name, and `field` itself is a function that returns its argument. So
//! an evaluation costs the same either way, and the names of all fields are known when the
//! expression is compiled.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{AST, ASTNode, Dynamic, Engine, Expr, Position, Token};
use smol_str::SmolStr;

/// The function that names a field.
const FIELD: &str = "field";
/// What is wrong with any other argument.
const UNQUOTED: &str = "`field(…)` takes the name of a field in quotes, as in `field(\"user-agent\")`";

/// How much of `field("NAME")` was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// A `.`: what follows belongs to the value before it.
    Dot,
    Field,
    Parenthesis,
}

struct State {
    seen: Seen,
    /// The first mistake that the parser would not report.
    mistake: Option<String>,
}

/// Reads the tokens of the expressions of one engine.
#[derive(Clone)]
pub(super) struct Names(Arc<Mutex<State>>);

impl Names {
    /// Sets an engine up.
    pub(super) fn register(engine: &mut Engine) -> Names {
        let names = Names(Arc::new(Mutex::new(State { seen: Seen::Nothing, mistake: None })));
        let mapper = names.clone();
        #[allow(
            deprecated,
            reason = "it is not deprecated but may change, and the lock file holds its version"
        )]
        engine.on_parse_token(move |token, position, _| mapper.token(token, position));
        engine.register_fn(FIELD, |value: Dynamic| value);
        names
    }

    /// Forgets the expression before, and returns its mistake if it had one.
    pub(super) fn take_mistake(&self) -> Option<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen = Seen::Nothing;
        state.mistake.take()
    }

    fn token(&self, token: Token, position: Position) -> Token {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::replace(&mut state.seen, Seen::Nothing);
        match token {
            Token::StringConstant(name) if seen == Seen::Parenthesis => Token::Identifier(name),
            token if seen == Seen::Parenthesis => {
                state.mistake.get_or_insert_with(|| format!("{UNQUOTED} ({position})"));
                token
            }
            Token::Unit if seen == Seen::Field => {
                state.mistake.get_or_insert_with(|| format!("{UNQUOTED} ({position})"));
                Token::Unit
            }
            Token::LeftParen if seen == Seen::Field => {
                state.seen = Seen::Parenthesis;
                Token::LeftParen
            }
            Token::Identifier(word) if word.as_str() == FIELD && seen != Seen::Dot => {
                state.seen = Seen::Field;
                Token::Identifier(word)
            }
            Token::Period => {
                state.seen = Seen::Dot;
                Token::Period
            }
            Token::Reserved(word) if is_plain(&word) && !USED.contains(&word.as_str()) => {
                Token::Identifier(word)
            }
            // Rhai reads an integer that is too long as a double.
            Token::FloatConstant(number) if number.1.chars().all(|c| c.is_ascii_digit() || c == '_') => {
                let mistake =
                    format!("{} does not fit an i64 ({position}); write it as 1.0e20 for an f64", number.1);
                state.mistake.get_or_insert(mistake);
                Token::FloatConstant(number)
            }
            token => token,
        }
    }
}

/// Reserved words that mean something all the same.
const USED: [&str; 11] = [
    "Fn",
    "call",
    "curry",
    "debug",
    "eval",
    "is_def_fn",
    "is_def_var",
    "is_shared",
    "print",
    "this",
    "type_of",
];

/// The names of the fields that an expression mentions, each once.
pub(super) fn of(ast: &AST) -> Vec<SmolStr> {
    let mut names: Vec<SmolStr> = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::Variable(variable, ..))) = path.last() {
            names.push(SmolStr::new(&variable.1));
        }
        true
    });
    names.sort_unstable();
    names.dedup();
    names
}

/// The patterns that stand in an expression as the last argument of `matches`.
pub(super) fn patterns(ast: &AST) -> Vec<SmolStr> {
    let mut patterns = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        let call = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))) => call,
            _ => return true,
        };
        if let Some(Expr::StringConstant(pattern, _)) = call.args.last().filter(|_| call.name == "matches") {
            patterns.push(SmolStr::new(pattern));
        }
        true
    });
    patterns
}

/// Whether a field of this name can be written as it is.
pub(in crate::components) fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}
