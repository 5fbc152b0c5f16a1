//! Tests of the developer command, on samples and on this repository.

mod readme;
mod tidy;
