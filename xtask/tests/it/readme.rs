//! Blocks of Markdown are found with what they promise, and promises are compared.

use xtask::readme::{Block, Language, extract, missing_line};

const PAGE: &str = "
# A page

<!-- test: first-start server -->
```sh
cargo run --release
```

<!-- test: a-chat -->
```sh
curl 127.0.0.1:4050
echo done
```
```text
\"used\": 1, … 49

done
```

Words in between.

```text
not promised by anybody
```

```python
print(1)
```

<!-- test: none, needs an account -->
```sh
rm -rf everything
```

```toml
default_plan = \"free\"
```
";

fn block(name: &str, line: usize, language: Language, code: &str, expected: &[&str]) -> Block {
    Block {
        name: name.into(),
        line,
        language,
        is_server: name == "first-start",
        code: code.into(),
        expected: expected.iter().map(|line| (*line).to_owned()).collect(),
    }
}

#[test]
fn blocks_are_found_in_order() {
    let expected = [
        block("first-start", 5, Language::Shell, "cargo run --release", &[]),
        block(
            "a-chat",
            10,
            Language::Shell,
            "curl 127.0.0.1:4050\necho done",
            &["\"used\": 1, … 49", "done"],
        ),
        block("line 26", 26, Language::Python, "print(1)", &[]),
    ];
    assert_eq!(extract(PAGE).unwrap(), expected);
}

#[test]
fn what_cannot_be_run_is_an_error() {
    for page in [
        "```sh\nls\n```",
        "<!-- test: none -->\n```sh\nls\n```",
        "<!-- test: a b c -->\n```sh\nls\n```",
        "<!-- test: a -->\n```toml\na = 1\n```",
        "<!-- test: a -->\nwords\n```sh\nls\n```",
        "```python\nprint(1)",
    ] {
        assert!(extract(page).is_err(), "{page}");
    }
}

#[test]
fn a_block_in_a_list_loses_its_indent() {
    let page = "1. Do this:\n\n   ```python\n   if a:\n       b()\n   ```\n";
    assert_eq!(extract(page).unwrap()[0].code, "if a:\n    b()");
}

#[test]
fn expected_lines_are_found_in_order() {
    let want = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let output = "HTTP/1.1 429 Too Many\n{\"used\": 50, \"remaining\": 0}\nbye\n";
    for (expected, missing) in [
        (&["429", "bye"][..], None),
        (&["\"used\": 50, … 0}"][..], None),
        (&["bye", "429"][..], Some("429")),
        (&["\"remaining\": 0, … \"used\""][..], Some("\"remaining\": 0, … \"used\"")),
        (&["429", "429"][..], Some("429")),
    ] {
        assert_eq!(missing_line(output, &want(expected)), missing, "{expected:?}");
    }
}
