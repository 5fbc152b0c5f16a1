//! The description of the API: what routes say of themselves, completed with what all of them
//! have in common.
//!
//! Always holds: the same code gives the same text, so that the committed file can be
//! compared byte by byte.

use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Required, Type};

use crate::error::Code;
use crate::reply::ProblemReply;
use crate::routes::{by_status, described, provider_docs};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Earmark",
        description = "Makes AI usage quotas exact: hold before the call, settle after it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(provider_docs::chat, provider_docs::models),
    components(schemas(ProblemReply)),
    tags(
        (name = "holds", description = "Amounts set aside for one call"),
        (name = "charges", description = "Hold and settle in one step, and checks"),
        (name = "batch", description = "Many holds, settles and charges at once"),
        (name = "usage", description = "Every limit as it stands, and the ledger"),
        (name = "tenants", description = "Customers"),
        (name = "corrections", description = "Grants, adjustments, restarts"),
        (name = "keys", description = "API keys"),
        (name = "events", description = "What receivers are told by webhooks, and who is"),
        (name = "plans", description = "Named sets of limits"),
        (name = "config", description = "Meters, plans and defaults as one document"),
        (name = "gateway", description = "Providers' own routes, metered"),
        (name = "system", description = "Health and metrics")
    )
)]
struct Base;

/// What every route with a key may answer besides its own.
const WITH_KEY: &[Code] = &[
    Code::MalformedRequest,
    Code::KeyInvalid,
    Code::ScopeMissing,
    Code::InvalidRequest,
    Code::InternalError,
    Code::StoreUnavailable,
    Code::Overloaded,
    Code::DeadlineExceeded,
    Code::ClockBehind,
    Code::OutcomeUnknown,
    Code::TenantFaulted,
];

/// What every route with a body may answer, too.
const WITH_BODY: &[Code] = &[Code::RequestTimeout, Code::BodyTooLarge];

/// The names in paths.
const PATH_PARAMETERS: &[(&str, &str)] = &[
    ("tenant", "The tenant"),
    ("hold", "The hold, as it was answered"),
    ("plan", "The plan"),
    ("id", "The id, as it was answered"),
];

/// The description of the whole API, for clients and for the committed file.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Base::openapi();
    let (_, routes) = described().split_for_parts();
    api.merge(routes);
    for (path, item) in &mut api.paths.paths {
        for (_, operation) in operations(item) {
            complete(path, operation);
        }
    }
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key: em_admin_…, em_service_… or em_tenant_…. Each operation names the least \
             kind that it takes: `tenant` (a key of the path's tenant, or a wider one), `service` \
             or `admin`.",
        ))
        .build();
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(scheme));
    for (status, response) in by_status(&[WITH_KEY, WITH_BODY].concat()) {
        components.responses.insert(shared_name(&status), response);
    }
    api
}

/// The operations of a path that there are.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Put, item.put.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

fn complete(path: &str, operation: &mut Operation) {
    for (name, description) in PATH_PARAMETERS {
        if path.contains(&format!("{{{name}}}")) {
            let parameter = ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(*description))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
                .build();
            let parameters = operation.parameters.get_or_insert_default();
            parameters.insert(0, RefOr::T(parameter));
        }
    }
    if !path.starts_with("/v1") && path != "/metrics" {
        return;
    }
    operation.security.get_or_insert_with(of_operators);
    let mut codes = WITH_KEY.to_vec();
    if operation.request_body.is_some() {
        codes.extend(WITH_BODY);
    }
    for (status, response) in by_status(&codes) {
        let responses = &mut operation.responses.responses;
        match (responses.get_mut(&status), response) {
            // What only says what every route says is said once, in the components.
            (None, _) => {
                let shared = RefOr::Ref(Ref::from_response_name(shared_name(&status)));
                responses.insert(status, shared);
            }
            (Some(RefOr::T(known)), RefOr::T(common)) => {
                known.description = format!("{}, {}", known.description, common.description);
            }
            (Some(_), _) => {}
        }
    }
}

/// What a route needs that names no kind of key: whoever forgets to open one has it closed.
fn of_operators() -> Vec<SecurityRequirement> {
    vec![SecurityRequirement::new("key", ["admin"])]
}

/// The name of the shared refusals with a status.
fn shared_name(status: &str) -> String {
    format!("Refused{status}")
}
