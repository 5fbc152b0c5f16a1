//! The models, as `GET /models` and `GET /models/{id}` answer them.
//!
//! Always holds: every field that OpenAI's types require is there.
//! Not here: which models there are (`upstream::Upstreams::listed_models`).

use bytes::Bytes;
use serde_json::{Value, json};

/// One model that the operator has configured by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// The name that a request gives.
    pub id: String,
    /// The upstream that serves it.
    pub owned_by: String,
}

/// Returns the body of the list; `created_s` (Unix seconds) stands for all, since nobody knows
/// when a configured model was made.
#[must_use]
pub fn models_body(models: &[ListedModel], created_s: u64) -> Bytes {
    let models: Vec<Value> = models.iter().map(|model| model_object(model, created_s)).collect();
    Bytes::from(json!({ "object": "list", "data": models }).to_string())
}

/// Returns the body of one model, as `GET /models/{id}` answers it.
#[must_use]
pub fn model_body(model: &ListedModel, created_s: u64) -> Bytes {
    Bytes::from(model_object(model, created_s).to_string())
}

fn model_object(model: &ListedModel, created_s: u64) -> Value {
    json!({ "id": model.id, "object": "model", "created": created_s, "owned_by": model.owned_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_required_field() {
        let models = [ListedModel { id: "fast".into(), owned_by: "local".into() }];
        let body: Value = serde_json::from_slice(&models_body(&models, 7)).unwrap();
        let model = json!({ "id": "fast", "object": "model", "created": 7, "owned_by": "local" });
        assert_eq!(body, json!({ "object": "list", "data": [&model] }));
        let body: Value = serde_json::from_slice(&model_body(&models[0], 7)).unwrap();
        assert_eq!(body, model);
        assert_eq!(models_body(&[], 7), r#"{"data":[],"object":"list"}"#);
    }
}
