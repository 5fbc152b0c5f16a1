//! The page of denials and errors.

use anyhow::Result;
use serde_json::Value;

use super::markdown::{code, head, list, table, text};

const INTRODUCTION: &str = "\
A refusal is `application/problem+json` (RFC 9457). `code` says which of these it is, `detail` says
it in a sentence with the numbers, `field` names what is wrong in a request, `limit` is the limit
that refused. `x-should-retry` says whether the same request may succeed later, and `Retry-After`
after how many seconds; where there is no `Retry-After`, waiting a little does not help.

The code is the same string in the reply, in the label of the metrics and in the log. The server
carries this table at `/docs/denials`.
";

const DENIALS: &str = "\
A denial is a refusal by rule: the request is right, and there is no room or no permission for it.
It changes no counter. Where several apply, the most final one is given, in the order of this table
([R22](../rules.md#r22)).
";

const ERRORS: &str = "\
Everything else that a request can be refused with. A 503 means that nothing was changed, with one
exception that says so itself: `outcome_unknown` ([R35](../rules.md#r35)).
";

const GATEWAY: &str = "\
Routes below `/openai` answer in OpenAI's own shape, `{\"error\": {message, type, param, code}}`, so
that its SDKs act on it. Where a limit refused, `error.earmark` is that limit; codes are OpenAI's
where its SDKs know one. An upstream's own refusals (4xx and 5xx) pass as they are, except those of
the operator's key for it (401, 407), which are `upstream_failed`. Below `/anthropic` everything is
refused for now.

Plans with `on_denied = \"message\"` are answered with a normal completion instead of
`insufficient_quota`; the header `Earmark-Denied` tells such a reply from a real one.
";

pub(super) fn page(described: &Value) -> Result<String> {
    let source = "crates/earmark-server/src/error/table.rs and \
                  crates/earmark-gateway/src/openai/error.rs";
    let mut page = head("Denials and errors", source, INTRODUCTION);
    for (title, about, are_denials) in [("Denials", DENIALS, true), ("Errors", ERRORS, false)] {
        page.push_str(&format!("\n## {title}\n\n{about}\n"));
        let rows: Vec<_> = list(described, "refusals")?
            .iter()
            .filter(|refusal| refusal["is_denial"] == are_denials)
            .map(|refusal| {
                let code = text(refusal, "code");
                vec![
                    format!("<a id=\"{code}\"></a>`{code}`"),
                    refusal["status"].to_string(),
                    text(refusal, "retry").to_owned(),
                    format!("{}. {}", text(refusal, "title"), text(refusal, "meaning")),
                ]
            })
            .collect();
        page.push_str(&table(
            &["code", "status", "retry?", "what it means, and what to do"],
            &rows,
        ));
    }
    page.push_str(&format!("\n## In the gateway\n\n{GATEWAY}\n"));
    let rows: Vec<_> = list(described, "gateway_errors")?
        .iter()
        .map(|error| {
            vec![
                code(text(error, "code")),
                code(text(error, "kind")),
                error["status"].to_string(),
                text(error, "retry").to_owned(),
                text(error, "meaning").to_owned(),
            ]
        })
        .collect();
    page.push_str(&table(&["code", "type", "status", "retry?", "what it means"], &rows));
    Ok(page)
}
