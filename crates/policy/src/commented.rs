//! A document as it is written, with its comments: what `policy fmt` and `policy migrate` write anew.

use std::borrow::Cow;

use jsonc_parser::common::Ranged as _;
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, parse_to_ast};

use crate::diagnostics::Findings;
use crate::document::{OPTIONS, Parsed};
use crate::sources::{SourceMap, unmarked};
use crate::version::Version;
use crate::{InvalidPolicy, Source};

/// Reads a document: its value with what stands around it, and its version.
///
/// # Errors
/// When it is no JSON object, or of a version that is not known, and for errors that `check` finds.
pub(crate) fn read(
    source: &Source,
    check: impl Fn(&Parsed<'_>, &mut Findings),
) -> Result<(Items<'_>, Version), InvalidPolicy> {
    let text = unmarked(&source.text);
    let mut sources = SourceMap::default();
    let base = sources.add(&source.path, text);
    let mut findings = Findings::default();
    let parsed = Parsed::parse(text, base, &mut findings);
    if let Some(parsed) = &parsed {
        check(parsed, &mut findings);
    }
    let Some(parsed) = parsed.filter(|_| !findings.any_error()) else {
        return Err(InvalidPolicy {
            diagnostics: findings.finish(&sources),
        });
    };
    let collect = CollectOptions {
        comments: CommentCollectionStrategy::AsTokens,
        tokens: true,
    };
    // It has been parsed a moment ago.
    let tokens = parse_to_ast(text, &collect, &OPTIONS)
        .ok()
        .and_then(|parsed| parsed.tokens)
        .unwrap_or_default();
    let mut reader = Reader {
        text,
        tokens: &tokens,
        at: 0,
    };
    Ok((reader.items(None), parsed.version()))
}

/// A comment, and whether an empty line is in front of it.
pub(crate) struct Comment<'a> {
    pub(crate) text: &'a str,
    pub(crate) after_blank: bool,
}

pub(crate) enum Node<'a> {
    /// As written.
    Scalar(Cow<'a, str>),
    Container(Container<'a>),
}

pub(crate) struct Container<'a> {
    pub(crate) open: char,
    pub(crate) close: char,
    pub(crate) items: Items<'a>,
    /// Whether a line begins after its bracket.
    pub(crate) broken: bool,
}

/// Members with what stands around them.
#[derive(Default)]
pub(crate) struct Items<'a> {
    pub(crate) list: Vec<Item<'a>>,
    /// Comments after the last.
    pub(crate) rest: Vec<Comment<'a>>,
}

pub(crate) struct Item<'a> {
    /// Comments in front, each on a line of its own.
    pub(crate) before: Vec<Comment<'a>>,
    pub(crate) after_blank: bool,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) value: Node<'a>,
    /// Comments behind it on its line.
    pub(crate) behind: Vec<&'a str>,
}

/// Reads tokens of a document that is known to be right.
struct Reader<'a, 't> {
    text: &'a str,
    tokens: &'t [TokenAndRange<'a>],
    at: usize,
}

impl<'a> Reader<'a, '_> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    /// The next token as it is written.
    fn next(&mut self) -> &'a str {
        let range = self.tokens.get(self.at).map(|token| token.range());
        self.at += 1;
        range.map_or("", |range| &self.text[range.start..range.end])
    }

    /// What is between the last token and the next.
    fn gap(&self) -> &'a str {
        let end = |at: usize| self.tokens.get(at).map(|token| token.end());
        let start = self.at.checked_sub(1).and_then(end).unwrap_or(0);
        let stop = self
            .tokens
            .get(self.at)
            .map_or(self.text.len(), |token| token.start());
        &self.text[start..stop]
    }

    fn lines_before(&self) -> usize {
        self.gap().matches('\n').count()
    }

    fn at_comment(&self) -> bool {
        matches!(
            self.peek(),
            Some(Token::CommentLine(_) | Token::CommentBlock(_))
        )
    }

    fn comment(&mut self) -> Comment<'a> {
        let after_blank = self.lines_before() > 1;
        Comment {
            text: self.next().trim_end(),
            after_blank,
        }
    }

    /// Members up to the closing bracket (which is taken), or to the end.
    fn items(&mut self, close: Option<Token<'a>>) -> Items<'a> {
        let mut items = Items::default();
        // What stands between a member and its comma, and cannot stay there.
        let mut before = Vec::new();
        loop {
            while self.at_comment() {
                before.push(self.comment());
            }
            let after_blank = self.lines_before() > 1;
            match self.peek() {
                None => {
                    items.rest = before;
                    return items;
                }
                token if token == close.as_ref() => {
                    self.next();
                    items.rest = before;
                    return items;
                }
                Some(Token::Comma) => {
                    self.next();
                    if before.is_empty() {
                        self.behind(&mut items);
                    }
                }
                Some(_) => {
                    let before = std::mem::take(&mut before);
                    let item = self.item(before, after_blank, close == Some(Token::CloseBrace));
                    items.list.push(item);
                    self.behind(&mut items);
                }
            }
        }
    }

    /// Comments on the line that a member ends on, in front of its comma or behind it.
    fn behind(&mut self, items: &mut Items<'a>) {
        let Some(last) = items.list.last_mut() else {
            return;
        };
        // Nothing can stand behind a comment that ends with its line.
        let open = |last: &Item<'_>| {
            last.behind
                .last()
                .is_none_or(|text| !text.starts_with("//"))
        };
        while open(last) && self.at_comment() && self.lines_before() == 0 {
            let line = matches!(self.peek(), Some(Token::CommentLine(_)));
            let at = self.at;
            let text = self.comment().text;
            // A block comment in front of another member is that member's.
            let ends_line = self.gap().contains('\n') || self.peek().is_none();
            let closes = matches!(
                self.peek(),
                Some(Token::CloseBrace | Token::CloseBracket | Token::Comma)
            );
            if !line && (!(ends_line || closes || self.at_comment()) || text.contains('\n')) {
                self.at = at;
                return;
            }
            last.behind.push(text);
        }
    }

    fn item(&mut self, mut before: Vec<Comment<'a>>, after_blank: bool, named: bool) -> Item<'a> {
        let mut name = None;
        if named {
            name = Some(self.next().into());
            while self.at_comment() {
                before.push(self.comment());
            }
            // The colon.
            self.next();
            while self.at_comment() {
                before.push(self.comment());
            }
        }
        let close = match self.peek() {
            Some(Token::OpenBrace) => Some(('{', '}', Token::CloseBrace)),
            Some(Token::OpenBracket) => Some(('[', ']', Token::CloseBracket)),
            _ => None,
        };
        let value = self.next();
        let value = match close {
            None => Node::Scalar(value.into()),
            Some((open, close, token)) => {
                let broken = self.lines_before() > 0;
                let items = self.items(Some(token));
                Node::Container(Container {
                    open,
                    close,
                    items,
                    broken,
                })
            }
        };
        Item {
            before,
            after_blank,
            name,
            value,
            behind: Vec::new(),
        }
    }
}
