//! Query strings: pages, and dimensions.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use earmark_core::Dimensions;
use http::request::Parts;

use super::field;
use crate::bounds::{PAGE_DEFAULT, PAGE_MAX};
use crate::cursor::{self, Place};
use crate::error::{Code, Problem};
use crate::state::App;

/// The pairs of a query in order, decoded.
pub(crate) struct PairsQuery(pub(crate) Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for PairsQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let unreadable = |_| Problem::new(Code::MalformedRequest, "the query is not readable");
        pairs.map(|Query(pairs)| Self(pairs)).map_err(unreadable)
    }
}

impl PairsQuery {
    /// The value of the one parameter that a query may have.
    pub(crate) fn only(self, name: &str) -> Result<Option<String>, Problem> {
        let mut found = None;
        for (given, value) in self.0 {
            if given != name {
                return Err(Problem::invalid(given, format!("unknown; known is {name}")));
            }
            if found.replace(value).is_some() {
                return Err(Problem::invalid(given, "stands more than once"));
            }
        }
        Ok(found)
    }

    /// The values of the parameters that a query may have, in their order.
    pub(crate) fn known<const N: usize>(
        self,
        names: [&str; N],
    ) -> Result<[Option<String>; N], Problem> {
        let mut found = [const { None }; N];
        for (given, value) in self.0 {
            let Some(index) = names.iter().position(|name| *name == given) else {
                let known = names.join(", ");
                return Err(Problem::invalid(given, format!("unknown; known are {known}")));
            };
            if found[index].replace(value).is_some() {
                return Err(Problem::invalid(given, "stands more than once"));
            }
        }
        Ok(found)
    }

    /// All pairs as dimensions.
    pub(crate) fn dimensions(self) -> Result<Dimensions, Problem> {
        field::dimensions("", self.0)
    }
}

/// `cursor`, `count`, and the filters of one list.
pub(crate) struct PageQuery<const FILTERS: usize> {
    /// The values of the filters, in the order in which the list names them.
    pub(crate) filters: [Option<String>; FILTERS],
    cursor: Option<String>,
    count: Option<String>,
}

impl<const FILTERS: usize> PageQuery<FILTERS> {
    /// Reads a query that has these filters and nothing else.
    pub(crate) fn read(query: PairsQuery, names: [&str; FILTERS]) -> Result<Self, Problem> {
        let mut page = Self { filters: std::array::from_fn(|_| None), cursor: None, count: None };
        for (name, value) in query.0 {
            let place = match name.as_str() {
                "cursor" => &mut page.cursor,
                "count" => &mut page.count,
                _ => {
                    let index = names.iter().position(|known| *known == name);
                    let unknown = || {
                        let known = names.join(", ");
                        Problem::invalid(
                            &name,
                            format!("unknown; known are cursor, count, {known}"),
                        )
                    };
                    &mut page.filters[index.ok_or_else(unknown)?]
                }
            };
            if place.replace(value).is_some() {
                return Err(Problem::invalid(name, "stands more than once"));
            }
        }
        Ok(page)
    }

    /// Where the page begins.
    pub(crate) fn place<P: Place>(&self) -> Result<Option<P>, Problem> {
        self.cursor.as_deref().map(cursor::read).transpose()
    }

    /// How many it has at most.
    pub(crate) fn count(&self) -> Result<usize, Problem> {
        let Some(text) = &self.count else { return Ok(PAGE_DEFAULT) };
        let count = text.parse().ok().filter(|count| (1..=PAGE_MAX).contains(count));
        let message = || format!("a whole number from 1 to {PAGE_MAX}");
        count.ok_or_else(|| Problem::invalid("count", message()))
    }
}
