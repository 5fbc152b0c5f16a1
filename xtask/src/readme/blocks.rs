//! Finding the blocks of code in Markdown, and comparing output with what a page promises.

use anyhow::{Result, bail};

/// What runs a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `sh` or `bash`.
    Shell,
    /// `python`.
    Python,
    /// `js`, as a module.
    Node,
}

/// A block to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// From its mark, else `line N`.
    pub name: String,
    /// Where its fence opens, from 1.
    pub line: usize,
    /// What runs it.
    pub language: Language,
    /// Whether it starts the server.
    pub is_server: bool,
    /// Its text.
    pub code: String,
    /// Lines that its output must contain, in order.
    pub expected: Vec<String>,
}

/// The comment that stands before a block.
enum Mark {
    Run { name: String, is_server: bool },
    Excused,
}

/// Finds all blocks that are to be run, in order.
///
/// # Errors
/// When a shell block has no mark, or a mark cannot be read, or a block is not closed.
pub fn extract(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut mark = None;
    // Only a `text` block directly after a block that runs says what that one prints.
    let mut is_after_block = false;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        if line.trim().is_empty() {
            continue;
        }
        if let Some(comment) = line.trim().strip_prefix("<!-- test:") {
            mark = Some(read_mark(comment, number)?);
            continue;
        }
        let Some((indent, fence, info)) = open_fence(line) else {
            is_after_block = false;
            if mark.is_some() {
                bail!("line {number}: a mark stands directly before its block");
            }
            continue;
        };
        let mut body = Vec::new();
        loop {
            match lines.next() {
                None => bail!("line {number}: this block is not closed"),
                Some((_, line)) if line.trim() == fence => break,
                Some((_, line)) => body.push(strip_indent(line, indent)),
            }
        }
        match (language(info), mark.take()) {
            (None, _) if info == "text" && is_after_block => {
                let lines = body.iter().filter(|line| !line.trim().is_empty());
                if let Some(block) = blocks.last_mut() {
                    block.expected.extend(lines.map(|line| (*line).to_owned()));
                }
            }
            (None, Some(Mark::Run { .. })) => bail!("line {number}: {info} cannot be run"),
            (None, _) => is_after_block = false,
            (Some(_), Some(Mark::Excused)) => is_after_block = false,
            (Some(Language::Shell), None) => bail!(
                "line {number}: mark this block <!-- test: NAME --> or <!-- test: none, WHY -->"
            ),
            (Some(language), mark) => {
                let (name, is_server) = match mark {
                    Some(Mark::Run { name, is_server }) => (name, is_server),
                    _ => (format!("line {number}"), false),
                };
                let code = body.join("\n");
                blocks.push(Block {
                    name,
                    line: number,
                    language,
                    is_server,
                    code,
                    expected: vec![],
                });
                is_after_block = true;
            }
        }
    }
    Ok(blocks)
}

/// Reads ` NAME [server] -->` or ` none, WHY -->`.
fn read_mark(comment: &str, number: usize) -> Result<Mark> {
    let Some(body) = comment.trim().strip_suffix("-->") else {
        bail!("line {number}: a mark is one line: <!-- test: NAME -->");
    };
    if let Some(reason) = body.trim().strip_prefix("none") {
        return match reason.strip_prefix(',').map(str::trim) {
            Some(reason) if !reason.is_empty() => Ok(Mark::Excused),
            _ => bail!("line {number}: say why: <!-- test: none, WHY -->"),
        };
    }
    match body.split_whitespace().collect::<Vec<_>>()[..] {
        [name] => Ok(Mark::Run { name: name.to_owned(), is_server: false }),
        [name, "server"] => Ok(Mark::Run { name: name.to_owned(), is_server: true }),
        _ => bail!("line {number}: a mark is <!-- test: NAME --> or <!-- test: NAME server -->"),
    }
}

/// The indent, fence and info string of a line that opens a block.
fn open_fence(line: &str) -> Option<(usize, &str, &str)> {
    let code = line.trim_start();
    let info = code.trim_start_matches('`');
    let fence = &code[..code.len() - info.len()];
    (fence.len() >= 3).then(|| (line.len() - code.len(), fence, info.trim()))
}

fn strip_indent(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start().len();
    &line[indent.min(spaces)..]
}

fn language(info: &str) -> Option<Language> {
    match info {
        "sh" | "bash" => Some(Language::Shell),
        "python" => Some(Language::Python),
        "js" => Some(Language::Node),
        _ => None,
    }
}

/// The first expected line that no line of `output` contains, after the line that contained
/// the one before it. `…` stands for anything within a line.
#[must_use]
pub fn missing_line<'a>(output: &str, expected: &'a [String]) -> Option<&'a str> {
    let mut lines = output.lines();
    expected.iter().find(|want| !lines.any(|line| contains(line, want))).map(String::as_str)
}

fn contains(line: &str, want: &str) -> bool {
    let mut rest = line;
    want.trim().split('…').map(str::trim).all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}
