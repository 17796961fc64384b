//! Rust source, split into code and comments line by line. Literals are emptied, so that no rule stumbles over their text.

/// One file: `code[n]` and `comments[n]` are what line `n + 1` holds of each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) code: Vec<String>,
    pub(crate) comments: Vec<String>,
}

/// An identifier, number, `::` or single sign of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        self.text.chars().next().is_some_and(is_word_char)
    }
}

pub(crate) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let mut scanner =
            Scanner { rest: text.chars().collect(), at: 0, code: String::new(), comments: String::new() };
        scanner.run();
        let lines = |text: String| text.split('\n').map(str::to_owned).collect();
        Self { code: lines(scanner.code), comments: lines(scanner.comments) }
    }

    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.code.iter().enumerate().flat_map(|(index, code)| line_tokens(index + 1, code)).collect()
    }
}

fn line_tokens(line: usize, code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut joins = false;
    for c in code.chars() {
        let extends = match (tokens.last(), is_word_char(c)) {
            (Some(last), true) => joins && last.is_word(),
            (Some(last), false) => joins && c == ':' && last.text == ":",
            (None, _) => false,
        };
        if extends {
            tokens.last_mut().expect("it extends the last one").text.push(c);
        } else if !c.is_whitespace() {
            tokens.push(Token { line, text: c.to_string() });
        }
        joins = !c.is_whitespace();
    }
    tokens
}

struct Scanner {
    rest: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Scanner {
    fn run(&mut self) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                _ if is_word_char(c) => self.word(),
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    /// Keeps one character as code.
    fn keep(&mut self) {
        let c = self.rest[self.at];
        self.at += 1;
        self.code.push(c);
        if c == '\n' {
            self.comments.push(c);
        }
    }

    /// Skips one character of a literal; only line ends remain.
    fn skip(&mut self) {
        match self.peek(0) {
            Some('\n') => self.keep(),
            _ => self.at += 1,
        }
    }

    /// Keeps one character as comment.
    fn keep_comment(&mut self) {
        let c = self.rest[self.at];
        self.at += 1;
        self.comments.push(c);
        if c == '\n' {
            self.code.push(c);
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.keep_comment();
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0_u32;
        while let Some(c) = self.peek(0) {
            let mark = match (c, self.peek(1)) {
                ('/', Some('*')) => 1,
                ('*', Some('/')) => -1,
                _ => 0,
            };
            depth = depth.saturating_add_signed(mark);
            self.keep_comment();
            if mark != 0 {
                self.keep_comment();
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while let Some(c) = self.peek(0)
            && c != '"'
        {
            if c == '\\' {
                self.skip();
            }
            self.skip();
        }
        if self.peek(0).is_some() {
            self.keep();
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.at += hashes;
        self.keep();
        while self.peek(0).is_some() {
            if self.peek(0) == Some('"') && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.keep();
                self.at += hashes;
                return;
            }
            self.skip();
        }
    }

    /// A character literal, or the start of a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') {
            self.at += 3;
            while self.peek(0).is_some_and(|c| c != '\'') {
                self.skip();
            }
            self.at += 1;
        } else if self.peek(2) == Some('\'') {
            self.at += 3;
        } else {
            self.keep();
        }
    }

    /// A word, or the prefix of a raw string.
    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(is_word_char) {
            self.keep();
        }
        let word: String = self.rest[start..self.at].iter().collect();
        let hashes = self.rest[self.at..].iter().take_while(|&&c| c == '#').count();
        if matches!(word.as_str(), "r" | "br" | "cr") && self.peek(hashes) == Some('"') {
            self.raw_string(hashes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn code(text: &str) -> String {
        Source::new(text).code.join("\n")
    }

    #[test]
    fn comments_are_apart_from_code() {
        let source = Source::new("a // b \"c\nd /* e\n/* f */ g */ h /**/ i /*/ j */ k");
        assert_eq!(source.code, ["a ", "d ", " h  i  k"]);
        assert_eq!(source.comments, ["// b \"c", "/* e", "/* f */ g *//**//*/ j */"]);
    }

    #[test]
    fn literals_are_emptied_and_lines_stay() {
        assert_eq!(code(r#"a("b \" // c", 'd', '"', '\'', b'\\') e"#), r#"a("", , , , b) e"#);
        assert_eq!(code("a(r#\"b \" \\\nc\"#, br\"\\\") d"), "a(r\"\n\", br\"\") d");
        assert_eq!(code("fn f<'a>(x: &'a str, y: &'_ u8) {}"), "fn f<'a>(x: &'a str, y: &'_ u8) {}");
        assert_eq!(code("r#type: u8"), "r#type: u8");
    }

    #[test]
    fn tokens_carry_their_lines() {
        let tokens = Source::new("use a::b;\nc d").tokens();
        let seen: Vec<_> = tokens.iter().map(|token| (token.line, token.text.as_str())).collect();
        assert_eq!(seen, [(1, "use"), (1, "a"), (1, "::"), (1, "b"), (1, ";"), (2, "c"), (2, "d")]);
    }
}
