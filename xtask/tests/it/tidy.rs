//! Tidy finds what breaks a house rule, nothing else; and this repository keeps them all.

use xtask::repo::Repo;
use xtask::tidy::{Exception, Tree, check};

const DOC: &str = "//! A file.\n";

/// The checks that complain about one file with this text.
fn checks(path: &str, text: &str) -> Vec<&'static str> {
    let rules = ("docs/rules.md", "# Rules\n\n### <a id=\"r1\"></a>R1 Amounts\n");
    let tree = Tree::of(&[rules, (path, text)]);
    check(&tree, &[]).into_iter().map(|finding| finding.check).collect()
}

macro_rules! case {
    ($path:expr, $text:expr, [$($check:expr),*]) => {{
        let expected: &[&str] = &[$($check),*];
        assert_eq!(checks($path, $text), expected, "{} with {:?}", $path, $text);
    }};
}

#[test]
fn the_repository_is_tidy() {
    let repo = Repo::here().unwrap();
    xtask::tidy::run(&repo).unwrap();
}

#[test]
fn a_rust_file_opens_with_its_purpose() {
    case!("a.rs", "//! A file.\n", []);
    case!("a.rs", "// A file.\n", ["module-doc"]);
    case!("a.rs", "\n//! A file.\n", ["module-doc"]);
    case!("a.py", "\n", []);
}

#[test]
fn names_say_what_belongs_there() {
    case!("crates/a/src/utils.rs", DOC, ["name"]);
    case!("crates/a/src/common/mod.rs", DOC, ["name"]);
    case!("crates/a/tests/it/helpers.rs", DOC, ["name"]);
    case!("crates/a/src/type.rs", DOC, []);
    case!("a.rs", "//! A.\nmod types {\n}\n", ["name"]);
    case!("a.rs", "//! A.\n    pub(crate) mod manager {}\npub mod manager {\n", ["name"]);
    case!("a.rs", "//! A.\nmod uncommon {\n", []);
}

#[test]
fn unfinished_work_is_no_comment() {
    let mark = concat!("TO", "DO");
    case!("a.rs", &format!("{DOC}// {mark}: later\n"), ["unfinished"]);
    case!("a.md", &format!("{mark}\n"), ["unfinished"]);
    case!("a.md", &format!("{mark}S and MAS{mark}\n"), []);
    case!("a.rs", &format!("{DOC}{}();\n", concat!("to", "do!")), ["unfinished"]);
}

#[test]
fn a_disabled_test_says_why() {
    case!("a.rs", "//! A.\n    #[ignore]\n", ["ignored-test"]);
    case!("a.rs", "//! A.\n#[ignore = \"\"]\n", ["ignored-test"]);
    case!("a.rs", "//! A.\n#[ignore = \"ten minutes; run by prove\"]\n", []);
}

#[test]
fn no_path_of_one_machine() {
    let folder = concat!("/wo", "rk/");
    case!("a.py", &format!("open('{folder}x')\n"), ["machine-path"]);
    case!("a.py", &format!("open('file://{folder}x')\n"), ["machine-path"]);
    case!("a.py", &format!("open('./frame{folder}x', '..{folder}')\n"), []);
}

#[test]
fn no_host_of_a_registry() {
    case!("a.toml", concat!("# from pypi", ".org\n"), ["registry-host"]);
    case!("Cargo.toml", concat!("# static.crates", ".io\n"), ["registry-host"]);
}

#[test]
fn rules_that_are_mentioned_exist() {
    case!("a.rs", "//! A (R1).\n", []);
    case!("a.rs", "//! A (R1, R2).\n", ["rule-number"]);
    case!("a.md", "R1–R3\n", ["rule-number"]);
    case!("a.rs", "//! A: AR2, R2x, R_2.\n", []);
}

#[test]
fn a_promise_names_a_test_that_exists() {
    let promised = |test: &str| {
        let page = format!("| `earmark-a::it::{test}` |\n");
        let code = format!("{DOC}fn it_holds() {{}}\n");
        let tree = Tree::of(&[
            ("docs/guarantees.md", page.as_str()),
            ("crates/earmark-a/tests/it/a.rs", code.as_str()),
        ]);
        let findings = check(&tree, &[]);
        findings.iter().filter(|finding| finding.check == "guarantee-test").count()
    };
    assert_eq!(promised("it_holds"), 0);
    assert_eq!(promised("it_held"), 1);
}

#[test]
fn files_are_short_and_not_deep() {
    let long = |lines: usize| format!("{DOC}{}", "// x\n".repeat(lines - 1));
    // A single file is the median and the p90 too.
    case!("a.rs", &long(200), []);
    case!("a.rs", &long(201), ["file-size"]);
    case!("a.rs", &long(451), ["file-size", "file-size"]);
    case!("a.rs", &long(801), ["file-size", "file-size", "file-size"]);
    case!("crates/a/tests/it/a.rs", &long(2_000), []);
    case!("a.rs", &format!("{DOC}#[cfg(test)]\n{}", long(900)), []);
    case!("crates/a/src/1/2/3/4/a.rs", DOC, []);
    case!("crates/a/src/1/2/3/4/5/a.rs", DOC, ["path-depth"]);
}

#[test]
fn edges_between_crates_are_those_of_the_table() {
    let core = ("crates/earmark-core/Cargo.toml", "[dependencies]\njiff = {}\n");
    let edges = |store: &str| {
        let tree = Tree::of(&[core, ("crates/earmark-store/Cargo.toml", store)]);
        check(&tree, &[]).into_iter().map(|finding| finding.message).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(edges("[dependencies]\nearmark-core = {}\nserde = {}\n"), none);
    assert_eq!(
        edges("[dependencies]\nearmark-core = {}\n[dev-dependencies]\nearmark-server = {}\n"),
        none
    );
    assert_eq!(
        edges("[dependencies]\nearmark-core = {}\n[target.x.dependencies]\nearmark-server = {}\n"),
        ["earmark-store must not depend on earmark-server"]
    );
    assert_eq!(
        edges("[dependencies]\n"),
        ["earmark-store does not depend on earmark-core: correct the table of edges"]
    );
    case!(
        "crates/earmark-core/Cargo.toml",
        "[dependencies]\ntokio = {}\nearmark-store = {}\n",
        ["crate-edge", "crate-edge"]
    );
    case!("crates/something/Cargo.toml", "", ["crate-edge"]);
}

#[test]
fn links_lead_somewhere() {
    case!("docs/a.md", "[R1](rules.md#r1) and [all](rules.md#rules), [web](https://x.y)\n", []);
    case!("docs/a.md", "[gone](rules.md#r2)\n", ["link"]);
    case!("docs/a.md", "[gone](gone.md) [up](../gone.md)\n", ["link", "link"]);
    case!("docs/a.md", "[out](../../x) [root](/docs/rules.md)\n", ["link", "link"]);
    case!("a.md", "[folder](docs) [folder](docs/) ![picture](docs/rules.md)\n", []);
    case!("a.md", "# One `two`, three\n\n[here](#one-two-three) [there](#four)\n", ["link"]);
    case!("a.md", "# One\n# One\n[here](#one) [again](#one-1) [more](#one-2)\n", ["link"]);
    case!("a.md", "`[code](x)`\n```\n[code](x)\n```\n", []);
    case!("a.md", "[name]: gone.md\n", ["link"]);
}

#[test]
fn an_exception_frees_one_file_from_one_check() {
    let exception = |path| Exception { check: "module-doc", path, reason: "a sample" };
    let tree = Tree::of(&[("a.rs", "x\n")]);
    assert_eq!(check(&tree, &[exception("a.rs")]), []);
    let findings = check(&tree, &[exception("b.rs")]);
    let found: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(found, ["module-doc", "exceptions"]);
}
