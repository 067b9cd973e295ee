//! Rust source as far as the rules of floors need it: the paths that a file
//! names, each made absolute. Comments, texts and doc links name nothing.

use std::iter::Peekable;
use std::str::Chars;

/// A path that a file names, outside comments and texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The line, counted from 1.
    pub line: usize,
    /// As it is written, braces taken apart: `crate::model::name::Name`. The
    /// words `async` and `await` count as paths.
    pub text: String,
    /// Where it leads within this crate, from the crate's root; `None` for
    /// other crates and for names that an import or the file itself gave.
    pub within_crate: Option<Vec<String>>,
    /// Does it stand in a `use`?
    pub is_import: bool,
    /// Does it stand under `#[cfg(test)]`?
    pub is_test: bool,
}

/// A word or a sign of the source. `::` is one sign.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub line: usize,
    pub text: String,
}

/// The paths that `source` names, which is the module at `module` (its path
/// from the crate's root).
pub(crate) fn paths(source: &str, module: &[&str]) -> Vec<Path> {
    let mut walk = Walk {
        tokens: tokens(source),
        at: 0,
        module: module.iter().map(|&name| name.to_owned()).collect(),
        inner: Vec::new(),
        depth: 0,
        test: None,
        found: Vec::new(),
    };
    while walk.at < walk.tokens.len() {
        walk.step();
    }
    walk.found
}

/// The modules that `source` declares at its own level.
pub(crate) fn modules(source: &str) -> Vec<Token> {
    let tokens = tokens(source);
    let declared = tokens
        .windows(3)
        .filter(|three| three[0].text == "mod" && [";", "{"].contains(&three[2].text.as_str()));
    declared.map(|three| three[1].clone()).collect()
}

struct Walk {
    tokens: Vec<Token>,
    at: usize,
    module: Vec<String>,
    /// Modules that stand in this file, with the depth of their braces.
    inner: Vec<(String, usize)>,
    depth: usize,
    test: Option<Test>,
    found: Vec<Path>,
}

/// An item under `#[cfg(test)]`.
struct Test {
    depth: usize,
}

impl Walk {
    fn step(&mut self) {
        if self.sees(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            self.test.get_or_insert(Test { depth: self.depth });
            self.at += 7;
        } else if self.text(0) == "use" {
            self.import();
        } else if self.text(0) == "mod" && self.text(2) == "{" {
            self.inner.push((self.text(1).to_owned(), self.depth));
            self.at += 2;
        } else if is_word(self.text(0)) {
            self.named();
        } else {
            self.sign();
        }
    }

    fn sign(&mut self) {
        match self.take().as_str() {
            "{" | "(" | "[" => self.depth += 1,
            ")" | "]" => self.depth = self.depth.saturating_sub(1),
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.leave();
            }
            ";" => self.leave(),
            _ => {}
        }
    }

    /// Ends what the end of an item at this depth ends.
    fn leave(&mut self) {
        let depth = self.depth;
        self.inner.retain(|&(_, outside)| depth > outside);
        self.test = self.test.take().filter(|test| depth > test.depth);
    }

    /// A path outside imports. One word alone is none, but for two that tell
    /// what kind of code this is.
    fn named(&mut self) {
        let line = self.tokens[self.at].line;
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at].text);
        let continues = before.is_some_and(|sign| sign == "::" || sign == ".");
        let mut words = vec![self.take()];
        while self.text(0) == "::" && is_word(self.text(1)) {
            self.at += 1;
            words.push(self.take());
        }
        let is_path = words.len() > 1 && !continues;
        if is_path || ["async", "await"].contains(&words[0].as_str()) {
            self.note(line, &words, false);
        }
    }

    /// `use`, a tree of paths, `;`.
    fn import(&mut self) {
        self.at += 1;
        self.tree(&[]);
        self.leave();
    }

    fn tree(&mut self, before: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut words = before.to_vec();
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => return self.branches(&words),
                "*" => words.push(self.take()),
                "as" => self.at += 2,
                word if is_word(word) => words.push(self.take()),
                _ => break,
            }
        }
        if words.len() > before.len() {
            self.note(line, &words, true);
        }
    }

    fn branches(&mut self, before: &[String]) {
        self.at += 1;
        while !matches!(self.text(0), "}" | "") {
            self.tree(before);
            if self.text(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn note(&mut self, line: usize, words: &[String], is_import: bool) {
        self.found.push(Path {
            line,
            text: words.join("::"),
            within_crate: self.absolute(words),
            is_import,
            is_test: self.test.is_some(),
        });
    }

    fn absolute(&self, words: &[String]) -> Option<Vec<String>> {
        let inner = self.inner.iter().map(|(name, _)| name);
        let mut module: Vec<String> = self.module.iter().chain(inner).cloned().collect();
        let mut rest = words;
        match rest.first()?.as_str() {
            "crate" | env!("CARGO_CRATE_NAME") | "proxyherd" => {
                module.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {}
            _ => return None,
        }
        while rest.first().is_some_and(|word| word == "super") {
            module.pop();
            rest = &rest[1..];
        }
        module.extend(rest.iter().filter(|&word| word != "self").cloned());
        Some(module)
    }

    fn take(&mut self) -> String {
        self.at += 1;
        self.tokens[self.at - 1].text.clone()
    }

    fn text(&self, ahead: usize) -> &str {
        let token = self.tokens.get(self.at + ahead);
        token.map_or("", |token| &token.text)
    }

    fn sees(&self, texts: &[&str]) -> bool {
        texts
            .iter()
            .enumerate()
            .all(|(i, text)| self.text(i) == *text)
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Takes source apart. Comments, texts, characters and lifetimes are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: source.chars().peekable(),
        line: 1,
        found: Vec::new(),
    };
    while lexer.step().is_some() {}
    lexer.found
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    found: Vec<Token>,
}

impl Lexer<'_> {
    /// The next character, which is counted if it ends a line.
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn peek(&mut self) -> char {
        self.rest.peek().copied().unwrap_or('\0')
    }

    fn step(&mut self) -> Option<()> {
        let line = self.line;
        let first = self.next()?;
        match (first, self.peek()) {
            ('/', '/') => while self.next().is_some_and(|c| c != '\n') {},
            ('/', '*') => self.comment(),
            ('"', _) => self.quoted('"'),
            ('\'', _) => self.character(),
            (':', ':') => {
                self.next();
                self.push(line, "::".to_owned());
            }
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(line, c),
            (c, _) if c.is_whitespace() => {}
            (c, _) => self.push(line, c.to_string()),
        }
        Some(())
    }

    fn push(&mut self, line: usize, text: String) {
        self.found.push(Token { line, text });
    }

    /// A word or a number; or the letters before a text, and that text.
    fn word(&mut self, line: usize, first: char) {
        let mut word = first.to_string();
        while self.peek().is_alphanumeric() || self.peek() == '_' {
            word.extend(self.next());
        }
        let before_text = matches!(word.as_str(), "r" | "b" | "br" | "c" | "cr");
        match self.peek() {
            '"' | '#' if before_text && word.contains('r') => self.raw(),
            '"' if before_text => {
                self.next();
                self.quoted('"');
            }
            _ => self.push(line, word),
        }
    }

    /// `"..."` or `#"..."#` of a raw text; a raw name (`r#name`) is a word.
    fn raw(&mut self) {
        let mut fence = String::new();
        while self.peek() == '#' {
            fence.extend(self.next());
        }
        if self.peek() != '"' {
            return;
        }
        let end = format!("\"{fence}");
        let mut seen = String::new();
        self.next();
        while !seen.ends_with(&end) {
            let Some(c) = self.next() else { return };
            seen.push(c);
        }
    }

    fn quoted(&mut self, end: char) {
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                c if c == end => return,
                _ => {}
            }
        }
    }

    /// After a `'`: a character, or a lifetime.
    fn character(&mut self) {
        let first = self.peek();
        if first == '\\' {
            return self.quoted('\'');
        }
        let mut ahead = self.rest.clone();
        if ahead.nth(1) == Some('\'') {
            self.next();
            self.next();
            return;
        }
        while self.peek().is_alphanumeric() || self.peek() == '_' {
            self.next();
        }
    }

    /// After a `/` before a `*`; comments nest.
    fn comment(&mut self) {
        let mut depth = 0;
        let mut before = '/';
        while let Some(c) = self.next() {
            match (before, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    before = c;
                    continue;
                }
            }
            before = '\0';
            if depth == 0 {
                return;
            }
        }
    }
}

#[test]
fn comments_texts_and_lifetimes_are_no_tokens() {
    let source = r####"a /* b /* c */ d */ e // f
        'g' '\'' 'h: loop "i \" j" r#"k " l"# b"m" br##"n "# o"## b'p' &'q r, r#type x::y"####;
    let texts: Vec<String> = tokens(source).into_iter().map(|t| t.text).collect();
    assert_eq!(texts.join(" "), "a e : loop b & r , type x :: y");
    assert_eq!(tokens(source).last().unwrap().line, 2);
}

#[test]
fn every_way_to_name_a_path_is_seen() {
    let source = "
        use crate::{model::{name::Name as N, report}, text::*};
        pub(in crate::peers) use super::super::herd;
        fn f() -> crate::gateway::Clock { self::g::<super::Settings>(std::fs::File::open()) }
        mod tests { use super::super::super::log::Log; use super::*; }
        macro_rules! m { () => { $crate::places::Places } }
        #[cfg(test)] mod more { fn h() { proxyherd::server::run() } }
        fn i() { crate::cli::main() }";
    let found = paths(source, &["peers", "link"]);
    let told: Vec<String> = found
        .iter()
        .map(|path| {
            let to = path.within_crate.as_ref();
            let to = to.map_or("elsewhere".to_owned(), |to| to.join("::"));
            let import = if path.is_import { "import " } else { "" };
            let test = if path.is_test { "test " } else { "" };
            format!("{} {import}{test}{to}", path.line)
        })
        .collect();
    let expected = [
        "2 import model::name::Name",
        "2 import model::report",
        "2 import text::*",
        "3 peers",
        "3 import herd",
        "4 gateway::Clock",
        "4 peers::link::g",
        "4 peers::Settings",
        "4 elsewhere",
        "5 import log::Log",
        "5 import peers::link::*",
        "6 places::Places",
        "7 test server::run",
        "8 cli::main",
    ];
    assert_eq!(told, expected);
}
