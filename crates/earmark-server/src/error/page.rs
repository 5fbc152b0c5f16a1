//! The table of codes as it is told: the page that `type` of every problem links to, and the
//! rows of the reference.

use earmark_core::Retry;

use super::table::Code;

/// A denial or an error as the reference lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalInfo {
    /// The code in the reply, the metrics and the logs.
    pub code: &'static str,
    /// Whether it is a denial: a refusal by rule, of a request that is right.
    pub is_denial: bool,
    /// The HTTP status.
    pub status: u16,
    /// Whether to try again.
    pub retry: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What it means, and what to do.
    pub meaning: &'static str,
}

/// Every denial and error of Earmark's own API.
pub fn refusals() -> impl Iterator<Item = RefusalInfo> {
    Code::ALL.iter().map(|code| RefusalInfo {
        code: code.as_str(),
        is_denial: code.is_denial(),
        status: code.status().as_u16(),
        retry: retry(*code),
        title: code.title(),
        meaning: code.meaning(),
    })
}

fn retry(code: Code) -> &'static str {
    match (code, code.retry()) {
        (Code::LimitExhausted, _) => "only if the reset is within a minute: then",
        (_, Retry::Never) => "no",
        (_, Retry::Soon | Retry::AfterMs(_)) => "after a second",
    }
}

/// The page as HTML; needs nothing from elsewhere.
pub(crate) fn denials_page() -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Earmark: denials and errors</title>\
         <style>body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}\
         code{background:#8882;padding:.1em .3em;border-radius:3px}\
         h2{margin:1.6em 0 .2em}h2:target{background:#fd08}small{color:#777}</style>\n\
         <h1>Denials and errors</h1>\n\
         <p>Every refusal is <code>application/problem+json</code> with one of these codes. \
         <code>x-should-retry</code> says whether the same request may succeed later.</p>\n",
    );
    for code in Code::ALL {
        let retry = retry(*code);
        page.push_str(&format!(
            "<h2 id=\"{0}\"><code>{0}</code></h2>\n<p><b>{1}.</b> {2}<br><small>{3} · retry: {retry}</small></p>\n",
            code.as_str(),
            code.title(),
            escaped(code.meaning()),
            code.status().as_u16(),
        ));
    }
    page.push_str("</html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
